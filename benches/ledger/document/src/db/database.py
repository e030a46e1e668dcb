"""Presumed by the document: `get_db`, in the form that FastAPI's own tutorial gives it."""
import os

from sqlalchemy import create_engine
from sqlalchemy.orm import sessionmaker

# A connection goes back to the pool after its response is sent, and handlers are `async` but wait for the pool in the event
# loop: with fewer connections than requests at a time the process stands still for 30 s. Hence a pool that is never empty.
engine = create_engine(os.environ["DATABASE_URL"], pool_size=int(os.environ.get("POOL_SIZE", "40")), max_overflow=1000)
SessionLocal = sessionmaker(autocommit=False, autoflush=False, bind=engine)


def get_db():
    db = SessionLocal()
    try:
        yield db
    finally:
        db.close()
