"""Presumed by the document, but for its last four lines, which are its step 4."""
from fastapi import APIRouter

from .endpoints import entities

api_router = APIRouter(prefix="/api/v1")
api_router.include_router(entities.router)

# Add deployment router
from .endpoints import deployments

api_router.include_router(deployments.router)
