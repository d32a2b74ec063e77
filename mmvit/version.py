"""The one place that says which version this is, and where it is published."""

__version__ = "0.1.0"

# Address of the public repository, without a slash at the end; empty until there is one. The links of the package's metadata,
# of its long description and of model cards follow from it.
REPOSITORY = ""
