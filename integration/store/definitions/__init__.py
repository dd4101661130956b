"""Definitions in SQL: who is in an audience, a persona, a stage of a journey, and what an account's health is."""
