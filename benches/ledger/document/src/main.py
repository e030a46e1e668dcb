"""Presumed by the document: the application, and the health that it asks for. The tables are made by `python -m src.main`."""
from fastapi import FastAPI

from .api.v1 import api_router
from .db.database import engine
from .db.models import Base

app = FastAPI(title="Library Service", version="1.0.0")
app.include_router(api_router)


@app.get("/health")
async def health():
    return {"status": "healthy", "version": "1.0.0", "checks": {}}


if __name__ == "__main__":
    Base.metadata.create_all(engine)
