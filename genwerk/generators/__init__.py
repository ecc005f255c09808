"""Images, molecules and music: families that turn noise or a beginning into a sample."""
