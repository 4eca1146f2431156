"""What a study reads that it has not made: users' files and data sets of the hub."""
