"""How a student is trained: the objective, the teacher's answers, the loop."""
