"""Recipes: what applications build from znodes, sessions and watches, done right once. Thin layers over the client."""
