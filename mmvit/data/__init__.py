"""Reading images, label maps and annotation files, with errors that name the file."""
