"""The first task: from a medical dialogue to a SOAP note."""

from soaptune.soap.prompt import SOAP, SOAPNote

__all__ = ["SOAP", "SOAPNote"]
