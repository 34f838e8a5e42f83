"""What makes the three real tasks on which tuning, steering and fitting are measured."""
