"""A look inside: where a model fails, what it is fed, and what it sees."""
