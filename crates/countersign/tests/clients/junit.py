"""Reads a JUnit report as junitparser does, and says as JSON what it found there."""
import json
import sys

from junitparser import Failure, JUnitXml

xml = JUnitXml.fromfile(sys.argv[1])
cases = [case for suite in xml for case in suite]
print(json.dumps({
    "tests": xml.tests,
    "failures": xml.failures,
    "suites": {suite.name: suite.tests for suite in xml},
    "cases": len(cases),
    "failed": {
        f"{case.classname}/{case.name}": [result.message for result in case.result if isinstance(result, Failure)]
        for case in cases if not case.is_passed
    },
}))
