"""Pictures of what a question answers: how it is best drawn, what stands in the picture, and the drawing of it."""
