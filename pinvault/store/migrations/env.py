"""What Alembic runs: the steps that are missing, in the transaction that it is given."""

from alembic import context

from pinvault.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=True,  # SQLite's is, in a transaction that was begun as ours are
)
context.run_migrations()
