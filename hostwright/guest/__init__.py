"""A Debian guest: installed, or made without the installer; watched and checked."""
