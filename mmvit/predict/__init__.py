"""Prediction with a trained model: images in, results as plain data out."""
