"""Mutation testing of the clear zone: small faults are put into its code, and tests must find them.

`./dev mutate` runs it. `mutants` makes the faults, `running` meets them with the tests that
`plan.toml` names, and `survivors.toml` explains those that no test can or need find.
"""
