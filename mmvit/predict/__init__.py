"""Use a trained model: results as plain data, and what makes them from images."""
