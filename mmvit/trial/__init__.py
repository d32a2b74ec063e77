"""A try of a config on a few real samples, and what is known about the errors that it meets."""
