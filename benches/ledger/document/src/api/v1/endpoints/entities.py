"""Presumed by the document: its gate and tests create, list and get entities."""
from datetime import datetime
from typing import Any, Dict, Optional
from uuid import UUID

from fastapi import APIRouter, Depends, HTTPException, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from ....db.database import get_db
from ....db.models import Entity

router = APIRouter(prefix="/entities", tags=["Entities"])


class EntityCreate(BaseModel):
    name: str = Field(..., min_length=1, max_length=255)
    type: str = Field(..., min_length=1, max_length=50)
    version: str = Field(..., min_length=1, max_length=50)
    config: Dict[str, Any] = Field(default_factory=dict)
    parameters: Dict[str, Any] = Field(default_factory=dict)


class EntityResponse(EntityCreate):
    entity_id: UUID
    status: str
    health_status: str
    deployed_at: Optional[datetime]
    deployed_by: Optional[str]
    created_at: datetime
    updated_at: datetime

    model_config = ConfigDict(from_attributes=True)


class EntityList(BaseModel):
    entities: list[EntityResponse]
    total: int
    page: int
    page_size: int


@router.post("", response_model=EntityResponse, status_code=201)
async def create_entity(data: EntityCreate, db: Session = Depends(get_db)) -> EntityResponse:
    entity = Entity(**data.model_dump())
    db.add(entity)
    db.commit()
    db.refresh(entity)
    return EntityResponse.model_validate(entity)


@router.get("", response_model=EntityList)
async def list_entities(
    page: int = Query(1, ge=1), page_size: int = Query(20, ge=1, le=100), db: Session = Depends(get_db)
) -> EntityList:
    query = db.query(Entity).filter(Entity.deleted_at.is_(None))
    total = query.count()
    found = query.order_by(Entity.created_at.desc()).offset((page - 1) * page_size).limit(page_size).all()
    entities = [EntityResponse.model_validate(one) for one in found]
    return EntityList(entities=entities, total=total, page=page, page_size=page_size)


@router.get("/{entity_id}", response_model=EntityResponse)
async def get_entity(entity_id: UUID, db: Session = Depends(get_db)) -> EntityResponse:
    entity = db.query(Entity).filter(Entity.entity_id == entity_id, Entity.deleted_at.is_(None)).first()
    if not entity:
        raise HTTPException(status_code=404, detail=f"Entity {entity_id} not found")
    return EntityResponse.model_validate(entity)
