"""A search by meaning whose encoder has learned the words of one domain with an adapter."""
