from google.protobuf import timestamp_pb2 as _timestamp_pb2
from . import state_pb2 as _state_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ApplyStateRequest(_message.Message):
    __slots__ = ("site", "request_id", "expected_revision", "databases", "author", "confirm_data_loss")
    SITE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_REVISION_FIELD_NUMBER: _ClassVar[int]
    DATABASES_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    CONFIRM_DATA_LOSS_FIELD_NUMBER: _ClassVar[int]
    site: str
    request_id: str
    expected_revision: int
    databases: _containers.RepeatedCompositeFieldContainer[Database]
    author: str
    confirm_data_loss: bool
    def __init__(self, site: _Optional[str] = ..., request_id: _Optional[str] = ..., expected_revision: _Optional[int] = ..., databases: _Optional[_Iterable[_Union[Database, _Mapping]]] = ..., author: _Optional[str] = ..., confirm_data_loss: bool = ...) -> None: ...

class Database(_message.Message):
    __slots__ = ("name", "type", "spec_json", "regions", "deletion_protection")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    SPEC_JSON_FIELD_NUMBER: _ClassVar[int]
    REGIONS_FIELD_NUMBER: _ClassVar[int]
    DELETION_PROTECTION_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: str
    spec_json: str
    regions: _containers.RepeatedScalarFieldContainer[str]
    deletion_protection: bool
    def __init__(self, name: _Optional[str] = ..., type: _Optional[str] = ..., spec_json: _Optional[str] = ..., regions: _Optional[_Iterable[str]] = ..., deletion_protection: bool = ...) -> None: ...

class ApplyStateResponse(_message.Message):
    __slots__ = ("site", "revision", "changes", "warnings")
    SITE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    site: str
    revision: int
    changes: _containers.RepeatedCompositeFieldContainer[ResourceChange]
    warnings: _containers.RepeatedCompositeFieldContainer[Warning]
    def __init__(self, site: _Optional[str] = ..., revision: _Optional[int] = ..., changes: _Optional[_Iterable[_Union[ResourceChange, _Mapping]]] = ..., warnings: _Optional[_Iterable[_Union[Warning, _Mapping]]] = ...) -> None: ...

class ResourceChange(_message.Message):
    __slots__ = ("region", "name", "type", "uid", "action", "generation", "hold")
    class Action(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ACTION_UNSPECIFIED: _ClassVar[ResourceChange.Action]
        ACTION_UNCHANGED: _ClassVar[ResourceChange.Action]
        ACTION_CREATED: _ClassVar[ResourceChange.Action]
        ACTION_UPDATED: _ClassVar[ResourceChange.Action]
        ACTION_DELETED: _ClassVar[ResourceChange.Action]
        ACTION_REPLACED: _ClassVar[ResourceChange.Action]
    ACTION_UNSPECIFIED: ResourceChange.Action
    ACTION_UNCHANGED: ResourceChange.Action
    ACTION_CREATED: ResourceChange.Action
    ACTION_UPDATED: ResourceChange.Action
    ACTION_DELETED: ResourceChange.Action
    ACTION_REPLACED: ResourceChange.Action
    REGION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    HOLD_FIELD_NUMBER: _ClassVar[int]
    region: str
    name: str
    type: str
    uid: str
    action: ResourceChange.Action
    generation: int
    hold: Hold
    def __init__(self, region: _Optional[str] = ..., name: _Optional[str] = ..., type: _Optional[str] = ..., uid: _Optional[str] = ..., action: _Optional[_Union[ResourceChange.Action, str]] = ..., generation: _Optional[int] = ..., hold: _Optional[_Union[Hold, _Mapping]] = ...) -> None: ...

class Hold(_message.Message):
    __slots__ = ("kind", "message", "revision")
    KIND_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    kind: str
    message: str
    revision: int
    def __init__(self, kind: _Optional[str] = ..., message: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class PlanStateRequest(_message.Message):
    __slots__ = ("site", "databases", "rollback_to", "confirm_data_loss")
    SITE_FIELD_NUMBER: _ClassVar[int]
    DATABASES_FIELD_NUMBER: _ClassVar[int]
    ROLLBACK_TO_FIELD_NUMBER: _ClassVar[int]
    CONFIRM_DATA_LOSS_FIELD_NUMBER: _ClassVar[int]
    site: str
    databases: _containers.RepeatedCompositeFieldContainer[Database]
    rollback_to: int
    confirm_data_loss: bool
    def __init__(self, site: _Optional[str] = ..., databases: _Optional[_Iterable[_Union[Database, _Mapping]]] = ..., rollback_to: _Optional[int] = ..., confirm_data_loss: bool = ...) -> None: ...

class PlanStateResponse(_message.Message):
    __slots__ = ("site", "revision", "changes", "warnings")
    SITE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    site: str
    revision: int
    changes: _containers.RepeatedCompositeFieldContainer[PlannedChange]
    warnings: _containers.RepeatedCompositeFieldContainer[Warning]
    def __init__(self, site: _Optional[str] = ..., revision: _Optional[int] = ..., changes: _Optional[_Iterable[_Union[PlannedChange, _Mapping]]] = ..., warnings: _Optional[_Iterable[_Union[Warning, _Mapping]]] = ...) -> None: ...

class PlannedChange(_message.Message):
    __slots__ = ("change", "fields", "disruptive", "data_loss", "summary")
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    DISRUPTIVE_FIELD_NUMBER: _ClassVar[int]
    DATA_LOSS_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    change: ResourceChange
    fields: _containers.RepeatedCompositeFieldContainer[FieldChange]
    disruptive: bool
    data_loss: bool
    summary: str
    def __init__(self, change: _Optional[_Union[ResourceChange, _Mapping]] = ..., fields: _Optional[_Iterable[_Union[FieldChange, _Mapping]]] = ..., disruptive: bool = ..., data_loss: bool = ..., summary: _Optional[str] = ...) -> None: ...

class FieldChange(_message.Message):
    __slots__ = ("path", "before_json", "after_json", "effect")
    PATH_FIELD_NUMBER: _ClassVar[int]
    BEFORE_JSON_FIELD_NUMBER: _ClassVar[int]
    AFTER_JSON_FIELD_NUMBER: _ClassVar[int]
    EFFECT_FIELD_NUMBER: _ClassVar[int]
    path: str
    before_json: str
    after_json: str
    effect: str
    def __init__(self, path: _Optional[str] = ..., before_json: _Optional[str] = ..., after_json: _Optional[str] = ..., effect: _Optional[str] = ...) -> None: ...

class GetStateRequest(_message.Message):
    __slots__ = ("site", "revision")
    SITE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    site: str
    revision: int
    def __init__(self, site: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class GetStateResponse(_message.Message):
    __slots__ = ("site", "revision", "databases", "author", "applied_at")
    SITE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    DATABASES_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    APPLIED_AT_FIELD_NUMBER: _ClassVar[int]
    site: str
    revision: int
    databases: _containers.RepeatedCompositeFieldContainer[Database]
    author: str
    applied_at: _timestamp_pb2.Timestamp
    def __init__(self, site: _Optional[str] = ..., revision: _Optional[int] = ..., databases: _Optional[_Iterable[_Union[Database, _Mapping]]] = ..., author: _Optional[str] = ..., applied_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListHistoryRequest(_message.Message):
    __slots__ = ("site", "limit", "before_revision")
    SITE_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    BEFORE_REVISION_FIELD_NUMBER: _ClassVar[int]
    site: str
    limit: int
    before_revision: int
    def __init__(self, site: _Optional[str] = ..., limit: _Optional[int] = ..., before_revision: _Optional[int] = ...) -> None: ...

class ListHistoryResponse(_message.Message):
    __slots__ = ("site", "entries")
    SITE_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    site: str
    entries: _containers.RepeatedCompositeFieldContainer[HistoryEntry]
    def __init__(self, site: _Optional[str] = ..., entries: _Optional[_Iterable[_Union[HistoryEntry, _Mapping]]] = ...) -> None: ...

class HistoryEntry(_message.Message):
    __slots__ = ("revision", "applied_at", "author", "request_id", "kind", "rollback_to", "changes")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    APPLIED_AT_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ROLLBACK_TO_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    revision: int
    applied_at: _timestamp_pb2.Timestamp
    author: str
    request_id: str
    kind: str
    rollback_to: int
    changes: _containers.RepeatedCompositeFieldContainer[ResourceChange]
    def __init__(self, revision: _Optional[int] = ..., applied_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., author: _Optional[str] = ..., request_id: _Optional[str] = ..., kind: _Optional[str] = ..., rollback_to: _Optional[int] = ..., changes: _Optional[_Iterable[_Union[ResourceChange, _Mapping]]] = ...) -> None: ...

class RollbackStateRequest(_message.Message):
    __slots__ = ("site", "revision", "request_id", "expected_revision", "author", "confirm_data_loss")
    SITE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_REVISION_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    CONFIRM_DATA_LOSS_FIELD_NUMBER: _ClassVar[int]
    site: str
    revision: int
    request_id: str
    expected_revision: int
    author: str
    confirm_data_loss: bool
    def __init__(self, site: _Optional[str] = ..., revision: _Optional[int] = ..., request_id: _Optional[str] = ..., expected_revision: _Optional[int] = ..., author: _Optional[str] = ..., confirm_data_loss: bool = ...) -> None: ...

class ConfirmHeldRequest(_message.Message):
    __slots__ = ("site", "names", "regions", "author", "expected_revision")
    SITE_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    REGIONS_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_REVISION_FIELD_NUMBER: _ClassVar[int]
    site: str
    names: _containers.RepeatedScalarFieldContainer[str]
    regions: _containers.RepeatedScalarFieldContainer[str]
    author: str
    expected_revision: int
    def __init__(self, site: _Optional[str] = ..., names: _Optional[_Iterable[str]] = ..., regions: _Optional[_Iterable[str]] = ..., author: _Optional[str] = ..., expected_revision: _Optional[int] = ...) -> None: ...

class ConfirmHeldResponse(_message.Message):
    __slots__ = ("site", "revision", "changes")
    SITE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    site: str
    revision: int
    changes: _containers.RepeatedCompositeFieldContainer[ResourceChange]
    def __init__(self, site: _Optional[str] = ..., revision: _Optional[int] = ..., changes: _Optional[_Iterable[_Union[ResourceChange, _Mapping]]] = ...) -> None: ...

class ForceDeleteRequest(_message.Message):
    __slots__ = ("site", "region", "names", "author")
    SITE_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    site: str
    region: str
    names: _containers.RepeatedScalarFieldContainer[str]
    author: str
    def __init__(self, site: _Optional[str] = ..., region: _Optional[str] = ..., names: _Optional[_Iterable[str]] = ..., author: _Optional[str] = ...) -> None: ...

class ForceDeleteResponse(_message.Message):
    __slots__ = ("site", "changes")
    SITE_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    site: str
    changes: _containers.RepeatedCompositeFieldContainer[ResourceChange]
    def __init__(self, site: _Optional[str] = ..., changes: _Optional[_Iterable[_Union[ResourceChange, _Mapping]]] = ...) -> None: ...

class Warning(_message.Message):
    __slots__ = ("code", "region", "name", "message")
    CODE_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    code: str
    region: str
    name: str
    message: str
    def __init__(self, code: _Optional[str] = ..., region: _Optional[str] = ..., name: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class GetStatusRequest(_message.Message):
    __slots__ = ("site", "regions", "names")
    SITE_FIELD_NUMBER: _ClassVar[int]
    REGIONS_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    site: str
    regions: _containers.RepeatedScalarFieldContainer[str]
    names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, site: _Optional[str] = ..., regions: _Optional[_Iterable[str]] = ..., names: _Optional[_Iterable[str]] = ...) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("site", "revision", "resources")
    SITE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    site: str
    revision: int
    resources: _containers.RepeatedCompositeFieldContainer[ResourceStatus]
    def __init__(self, site: _Optional[str] = ..., revision: _Optional[int] = ..., resources: _Optional[_Iterable[_Union[ResourceStatus, _Mapping]]] = ...) -> None: ...

class WatchStatusRequest(_message.Message):
    __slots__ = ("site", "regions", "names")
    SITE_FIELD_NUMBER: _ClassVar[int]
    REGIONS_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    site: str
    regions: _containers.RepeatedScalarFieldContainer[str]
    names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, site: _Optional[str] = ..., regions: _Optional[_Iterable[str]] = ..., names: _Optional[_Iterable[str]] = ...) -> None: ...

class WatchStatusResponse(_message.Message):
    __slots__ = ("kind", "resource", "revision")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[WatchStatusResponse.Kind]
        KIND_CHANGED: _ClassVar[WatchStatusResponse.Kind]
        KIND_REMOVED: _ClassVar[WatchStatusResponse.Kind]
        KIND_SYNCED: _ClassVar[WatchStatusResponse.Kind]
    KIND_UNSPECIFIED: WatchStatusResponse.Kind
    KIND_CHANGED: WatchStatusResponse.Kind
    KIND_REMOVED: WatchStatusResponse.Kind
    KIND_SYNCED: WatchStatusResponse.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    kind: WatchStatusResponse.Kind
    resource: ResourceStatus
    revision: int
    def __init__(self, kind: _Optional[_Union[WatchStatusResponse.Kind, str]] = ..., resource: _Optional[_Union[ResourceStatus, _Mapping]] = ..., revision: _Optional[int] = ...) -> None: ...

class ResourceStatus(_message.Message):
    __slots__ = ("site", "region", "name", "type", "uid", "generation", "observed_generation", "phase", "ready", "reason", "message", "endpoints", "conditions", "details_json", "observed_at", "created_at", "applied_at", "ready_at", "spec_json", "deletion_protection", "deleting", "hold")
    SITE_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_GENERATION_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ENDPOINTS_FIELD_NUMBER: _ClassVar[int]
    CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    DETAILS_JSON_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_AT_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    APPLIED_AT_FIELD_NUMBER: _ClassVar[int]
    READY_AT_FIELD_NUMBER: _ClassVar[int]
    SPEC_JSON_FIELD_NUMBER: _ClassVar[int]
    DELETION_PROTECTION_FIELD_NUMBER: _ClassVar[int]
    DELETING_FIELD_NUMBER: _ClassVar[int]
    HOLD_FIELD_NUMBER: _ClassVar[int]
    site: str
    region: str
    name: str
    type: str
    uid: str
    generation: int
    observed_generation: int
    phase: str
    ready: bool
    reason: str
    message: str
    endpoints: _containers.RepeatedCompositeFieldContainer[_state_pb2.Endpoint]
    conditions: _containers.RepeatedCompositeFieldContainer[_state_pb2.Condition]
    details_json: str
    observed_at: _timestamp_pb2.Timestamp
    created_at: _timestamp_pb2.Timestamp
    applied_at: _timestamp_pb2.Timestamp
    ready_at: _timestamp_pb2.Timestamp
    spec_json: str
    deletion_protection: bool
    deleting: bool
    hold: Hold
    def __init__(self, site: _Optional[str] = ..., region: _Optional[str] = ..., name: _Optional[str] = ..., type: _Optional[str] = ..., uid: _Optional[str] = ..., generation: _Optional[int] = ..., observed_generation: _Optional[int] = ..., phase: _Optional[str] = ..., ready: bool = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., endpoints: _Optional[_Iterable[_Union[_state_pb2.Endpoint, _Mapping]]] = ..., conditions: _Optional[_Iterable[_Union[_state_pb2.Condition, _Mapping]]] = ..., details_json: _Optional[str] = ..., observed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., applied_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ready_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., spec_json: _Optional[str] = ..., deletion_protection: bool = ..., deleting: bool = ..., hold: _Optional[_Union[Hold, _Mapping]] = ...) -> None: ...

class ListRegionsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListRegionsResponse(_message.Message):
    __slots__ = ("regions",)
    REGIONS_FIELD_NUMBER: _ClassVar[int]
    regions: _containers.RepeatedCompositeFieldContainer[Region]
    def __init__(self, regions: _Optional[_Iterable[_Union[Region, _Mapping]]] = ...) -> None: ...

class Region(_message.Message):
    __slots__ = ("id", "phase", "version", "applied_version", "in_sync", "last_heartbeat_at", "plugins", "resources", "ready_resources", "problems", "plane_version", "cluster_uid", "published_version", "behind_since")
    ID_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    APPLIED_VERSION_FIELD_NUMBER: _ClassVar[int]
    IN_SYNC_FIELD_NUMBER: _ClassVar[int]
    LAST_HEARTBEAT_AT_FIELD_NUMBER: _ClassVar[int]
    PLUGINS_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    READY_RESOURCES_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    PLANE_VERSION_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_UID_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_VERSION_FIELD_NUMBER: _ClassVar[int]
    BEHIND_SINCE_FIELD_NUMBER: _ClassVar[int]
    id: str
    phase: str
    version: int
    applied_version: int
    in_sync: bool
    last_heartbeat_at: _timestamp_pb2.Timestamp
    plugins: _containers.RepeatedCompositeFieldContainer[_state_pb2.PluginInfo]
    resources: int
    ready_resources: int
    problems: _containers.RepeatedScalarFieldContainer[str]
    plane_version: str
    cluster_uid: str
    published_version: int
    behind_since: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., phase: _Optional[str] = ..., version: _Optional[int] = ..., applied_version: _Optional[int] = ..., in_sync: bool = ..., last_heartbeat_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., plugins: _Optional[_Iterable[_Union[_state_pb2.PluginInfo, _Mapping]]] = ..., resources: _Optional[int] = ..., ready_resources: _Optional[int] = ..., problems: _Optional[_Iterable[str]] = ..., plane_version: _Optional[str] = ..., cluster_uid: _Optional[str] = ..., published_version: _Optional[int] = ..., behind_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
