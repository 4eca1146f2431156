"""What numbers over seeds and iterations say: intervals, effects, laws of growth."""
