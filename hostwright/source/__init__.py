"""From a pin to checked bytes in the cache, whichever mirror has them."""
