"""Analysis of models and data: where a model fails, what it is fed, and what it sees."""
