"""What is studied: subjects, their sites, and everything that can be done to a network without changing it."""
