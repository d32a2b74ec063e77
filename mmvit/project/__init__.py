"""From a folder of labelled pictures to a config: what labelling tools write, read into one description."""
