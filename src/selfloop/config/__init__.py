"""What a study's config may hold, and what is wrong with one."""
