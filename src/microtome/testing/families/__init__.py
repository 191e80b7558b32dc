"""One file per question: a tiny planted world, its truth score, its null, and what must be refused."""
