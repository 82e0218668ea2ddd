"""For maintainers: draft a recipe, find old ones, renew the locks."""
