"""describe: objects and fields in the words of the REST API."""

from typing import TYPE_CHECKING, Any

from integration.sandbox.model import FieldDef, ObjectDef

if TYPE_CHECKING:
    from integration.sandbox.org import Org

_SOAP_TYPES = {
    "id": "tns:ID",
    "reference": "tns:ID",
    "boolean": "xsd:boolean",
    "int": "xsd:int",
    "double": "xsd:double",
    "currency": "xsd:double",
    "percent": "xsd:double",
    "date": "xsd:date",
    "datetime": "xsd:dateTime",
    "time": "xsd:time",
    "address": "urn:address",
    "location": "urn:location",
    "anyType": "xsd:anyType",
}
_UNGROUPABLE = frozenset(
    {"datetime", "double", "currency", "percent", "multipicklist", "address", "location", "encryptedstring", "anyType"}
)


def global_describe(org: "Org", version: str) -> dict[str, Any]:
    """The list of all objects, without their fields."""
    objects = [_flags(obj) | {"urls": _urls(obj, version)} for obj in org.objects.values()]
    return {"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": objects}


def describe(org: "Org", name: str, version: str) -> dict[str, Any]:
    """Everything about one object. Raises OrgError INVALID_TYPE."""
    obj = org.table(name).definition
    return _flags(obj) | {
        "actionOverrides": [],
        "childRelationships": _children(org, name),
        "compactLayoutable": True,
        "fields": [_field(f) for f in org.visible_fields(name)],
        "listviewable": None,
        "lookupLayoutable": None,
        "namedLayoutInfos": [],
        "networkScopeFieldName": None,
        "recordTypeInfos": [_master_record_type(name, version)],
        "searchLayoutable": True,
        "supportedScopes": [{"label": "All records", "name": "everything"}],
        "urls": _urls(obj, version),
    }


def _flags(obj: ObjectDef) -> dict[str, Any]:
    return {
        "activateable": False,
        "associateEntityType": "History" if obj.name.endswith("History") else None,
        "createable": obj.createable,
        "custom": obj.custom,
        "customSetting": False,
        "deepCloneable": False,
        "defaultImplementation": None,
        "deletable": obj.deletable,
        "deprecatedAndHidden": False,
        "extendedBy": None,
        "extendsInterfaces": None,
        "feedEnabled": False,
        "hasSubtypes": False,
        "implementedBy": None,
        "implementsInterfaces": None,
        "isInterface": False,
        "isSubtype": False,
        "keyPrefix": obj.key_prefix,
        "label": obj.label,
        "labelPlural": obj.label_plural,
        "layoutable": True,
        "mergeable": obj.mergeable,
        "mruEnabled": True,
        "name": obj.name,
        "queryable": True,
        "replicateable": obj.replicateable,
        "retrieveable": True,
        "searchable": True,
        "sobjectDescribeOption": "FULL",
        "triggerable": True,
        "undeletable": obj.undeletable,
        "updateable": obj.createable,
    }


def _field(f: FieldDef) -> dict[str, Any]:
    return _kind(f) | {
        "aggregatable": not f.parts,
        "aiPredictionField": False,
        "autoNumber": False,
        "byteLength": f.length * 3,
        "calculated": f.calculated,
        "calculatedFormula": f"formula of {f.name}" if f.calculated and f.roll_up is None else None,
        "cascadeDelete": False,
        "caseSensitive": False,
        "compoundFieldName": f.compound_of,
        "controllerName": None,
        "createable": f.createable,
        "custom": f.custom,
        "defaultValue": f.default,
        "defaultValueFormula": None,
        "defaultedOnCreate": f.default is not None or f.name == "OwnerId" or (not f.nillable and not f.createable),
        "dependentPicklist": False,
        "deprecatedAndHidden": False,
        "displayLocationInDecimal": f.type == "location",
        "encrypted": f.type == "encryptedstring",
        "externalId": f.external_id,
        "extraTypeInfo": None,
        "filterable": f.filterable and not f.parts,
        "filteredLookupInfo": None,
        "formulaTreatNullNumberAsZero": False,
        "groupable": f.filterable and f.type not in _UNGROUPABLE and not f.calculated,
        "highScaleNumber": False,
        "htmlFormatted": False,
        "idLookup": f.type == "id" or f.external_id,
        "inlineHelpText": None,
        "label": f.label,
        "length": f.length,
        "mask": None,
        "maskType": None,
        "name": f.name,
        "nameField": f.name_field,
        "namePointing": len(f.reference_to) > 1,
        "nillable": f.nillable,
        "permissionable": f.nillable and f.createable,
        "polymorphicForeignKey": len(f.reference_to) > 1,
        "queryByDistance": f.type in ("address", "location"),
        "referenceTargetField": None,
        "referenceTo": list(f.reference_to),
        "relationshipName": f.relationship,
        "relationshipOrder": None,
        "restrictedDelete": False,
        "restrictedPicklist": False,
        "searchPrefilterable": f.type == "reference",
        "sortable": f.sortable and not f.parts,
        "unique": f.unique,
        "updateable": f.updateable,
        "writeRequiresMasterRead": False,
    }


def _kind(f: FieldDef) -> dict[str, Any]:
    return {
        "type": f.type,
        "soapType": _SOAP_TYPES.get(f.type, "xsd:string"),
        "precision": f.precision,
        "scale": f.scale,
        "digits": f.precision if f.type == "int" else 0,
        "picklistValues": [
            {"active": True, "defaultValue": value == f.default, "label": value, "validFor": None, "value": value}
            for value in f.picklist
        ],
    }


def _children(org: "Org", name: str) -> list[dict[str, Any]]:
    cascades = set(org.objects[name].cascade)
    return [
        {
            "cascadeDelete": (child, f.name) in cascades,
            "childSObject": child,
            "deprecatedAndHidden": False,
            "field": f.name,
            "junctionIdListNames": [],
            "junctionReferenceTo": [],
            "relationshipName": None,
            "restrictedDelete": False,
        }
        for child in org.objects
        for f in org.visible_fields(child)
        if name in f.reference_to
    ]


def _master_record_type(name: str, version: str) -> dict[str, Any]:
    return {
        "active": True,
        "available": True,
        "defaultRecordTypeMapping": True,
        "developerName": "Master",
        "master": True,
        "name": "Master",
        "recordTypeId": "012000000000000AAA",
        "urls": {"layout": f"/services/data/{version}/sobjects/{name}/describe/layouts/012000000000000AAA"},
    }


def _urls(obj: ObjectDef, version: str) -> dict[str, str]:
    base = f"/services/data/{version}/sobjects/{obj.name}"
    return {"sobject": base, "describe": f"{base}/describe", "rowTemplate": base + "/{ID}"}
