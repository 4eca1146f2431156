"""How sampled documents differ from real ones: the measures of the collapse profile."""
