"""Presumed by the document: the tables whose columns its code reads and writes, with an index for each filter and order."""
from datetime import datetime
from uuid import uuid4

from sqlalchemy import Column, DateTime, ForeignKey, Index, Integer, String, Text
from sqlalchemy.dialects.postgresql import JSONB, UUID
from sqlalchemy.orm import declarative_base

Base = declarative_base()


class Entity(Base):
    __tablename__ = "entities"

    entity_id = Column(UUID(as_uuid=True), primary_key=True, default=uuid4)
    name = Column(String(255), nullable=False, unique=True)
    type = Column(String(50), nullable=False)
    version = Column(String(50), nullable=False)
    status = Column(String(50), nullable=False, default="registered")
    health_status = Column(String(50), nullable=False, default="unknown")
    config = Column(JSONB, nullable=False, default=dict)
    parameters = Column(JSONB, default=dict)
    deployed_at = Column(DateTime)
    deployed_by = Column(String(255))
    deployment_config = Column(JSONB)
    created_at = Column(DateTime, nullable=False, default=datetime.utcnow)
    updated_at = Column(DateTime, nullable=False, default=datetime.utcnow, onupdate=datetime.utcnow)
    deleted_at = Column(DateTime)


class Deployment(Base):
    __tablename__ = "deployments"
    __table_args__ = (
        Index("deployments_entity", "entity_id", "deployed_at"),
        Index("deployments_environment", "environment", "deployed_at"),
        Index("deployments_status", "status", "deployed_at"),
        Index("deployments_deployed_at", "deployed_at"),
    )

    deployment_id = Column(UUID(as_uuid=True), primary_key=True, default=uuid4)
    entity_id = Column(UUID(as_uuid=True), ForeignKey("entities.entity_id"), nullable=False)
    version = Column(String(50), nullable=False)
    environment = Column(String(50), nullable=False)
    config_snapshot = Column(JSONB, nullable=False, default=dict)
    parameters_snapshot = Column(JSONB)
    status = Column(String(50), nullable=False, default="pending")
    deployed_at = Column(DateTime, nullable=False, default=datetime.utcnow)
    deployed_by = Column(String(255), nullable=False)
    deployment_method = Column(String(50))
    rolled_back_at = Column(DateTime)
    rolled_back_by = Column(String(255))
    rollback_reason = Column(Text)
    previous_deployment_id = Column(UUID(as_uuid=True), ForeignKey("deployments.deployment_id"))
    health_checks = Column(JSONB, nullable=False, default=list)
    last_health_check = Column(DateTime)
    error_logs = Column(Text)
    deployment_duration_seconds = Column(Integer)
    validation_results = Column(JSONB)
    created_at = Column(DateTime, nullable=False, default=datetime.utcnow)
    updated_at = Column(DateTime, nullable=False, default=datetime.utcnow, onupdate=datetime.utcnow)
