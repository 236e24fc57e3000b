#!/usr/bin/python3
"""Walks a server's own OpenAPI document and checks that every route answers as documented: statuses, media types, bodies,
errors with code and field, credentials, roles, methods, Accept, preconditions, dry runs. Changes nothing: what would be
changed is asked for as a dry run, or so that it must be refused.

usage: contract.py (--url https://HOST:PORT [--ca FILE] --token-file FILE | --unix PATH) [--viewer-token-file FILE]"""
import argparse
import http.client
import json
import re
import socket
import ssl
import sys
import urllib.parse

PROBLEM = 'application/problem+json'
NOBODY = 'no-such-object-here'


class Target:
    """Where the server is. url: http://, https:// or unix:PATH."""
    def __init__(self, url, token=None, authority=None):
        self.url, self.token = url, token
        self.is_unix = url.startswith('unix:')
        self.context = ssl.create_default_context(cafile=authority) if url.startswith('https:') else None

    def connect(self):
        if self.is_unix:
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(30)
            sock.connect(self.url[5:])
        else:
            parts = urllib.parse.urlsplit(self.url)
            sock = socket.create_connection((parts.hostname, parts.port), 30)
            if self.context:
                sock = self.context.wrap_socket(sock, server_hostname=parts.hostname)
        connection = http.client.HTTPConnection('drover')
        connection.sock = sock
        return connection


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.fields = {k.lower(): v for k, v in response.getheaders()}
        self.data = response.read()
        self.type = self.fields.get('content-type', '').split(';')[0]
        self.json = json.loads(self.data) if self.data and self.type.endswith('json') else None


def violations(schema, value, document, path='', answer=True):
    """What of JSON Schema the document uses; yields sentences."""
    if '$ref' in schema:
        target = document
        for part in schema['$ref'].lstrip('#/').split('/'):
            target = target[part]
        yield from violations(target, value, document, path, answer)
        return
    for key in ('anyOf', 'oneOf'):
        if key in schema:
            fits = [s for s in schema[key] if not list(violations(s, value, document, path, answer))]
            if len(fits) < 1 or (key == 'oneOf' and len(fits) > 1):
                yield '%s: %r fits %d of %s' % (path, value, len(fits), key)
    types = schema.get('type')
    names = {'object': dict, 'array': list, 'string': str, 'boolean': bool, 'null': type(None)}
    def fits_type(t):
        if t == 'integer':
            return isinstance(value, int) and not isinstance(value, bool)
        if t == 'number':
            return isinstance(value, (int, float)) and not isinstance(value, bool)
        return isinstance(value, names[t])
    if types and not any(fits_type(t) for t in ([types] if isinstance(types, str) else types)):
        yield '%s: %r is no %s' % (path, value, types)
        return
    if 'enum' in schema and value not in schema['enum']:
        yield '%s: %r is none of %s' % (path, value, schema['enum'])
    if isinstance(value, str) and 'pattern' in schema and not re.search(schema['pattern'], value):
        yield '%s: %r is not like %s' % (path, value, schema['pattern'])
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if value < schema.get('minimum', value) or value > schema.get('maximum', value):
            yield '%s: %r is out of range' % (path, value)
    if isinstance(value, list):
        for i, item in enumerate(value):
            yield from violations(schema.get('items', {}), item, document, '%s[%d]' % (path, i), answer)
    if isinstance(value, dict):
        properties, more = schema.get('properties', {}), schema.get('additionalProperties', True)
        for name in schema.get('required', []):
            if name not in value and not (properties.get(name, {}).get('readOnly') and not answer):
                yield '%s: %s is missing' % (path, name)
        for name, item in value.items():
            inner = (path + '.' if path else '') + name
            if name in properties:
                if answer and properties[name].get('writeOnly'):
                    yield '%s: a secret is shown' % inner
                yield from violations(properties[name], item, document, inner, answer)
            elif more is False:
                yield '%s: not documented' % inner
            elif isinstance(more, dict):
                yield from violations(more, item, document, inner, answer)


class Contract:
    def __init__(self, target, viewer=None):
        self.target, self.viewer = target, viewer
        self.wrong, self.checks = [], 0
        self.connection = None
        self.where = ''

    # ---- asking ----

    def ask(self, method, path, body=None, headers=None, token=True):
        headers = dict(headers or {})
        if token is True:
            token = self.target.token
        if token:
            headers['Authorization'] = 'Bearer ' + token
        if body is not None:
            headers.setdefault('Content-Type', 'application/json')
            body = body if isinstance(body, (str, bytes)) else json.dumps(body)
        for attempt in (0, 1):
            if not self.connection:
                self.connection = self.target.connect()
            try:
                self.connection.request(method, path, body, headers)
                answer = Answer(self.connection.getresponse())
                if answer.fields.get('connection') == 'close':
                    self.close()
                return answer
            except (ConnectionError, http.client.HTTPException):
                self.close()
                if attempt:
                    raise

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def check(self, right, text):
        self.checks += 1
        if not right:
            self.wrong.append('%s: %s' % (self.where, text))
        return right

    def resolve(self, thing):
        while '$ref' in thing:
            target = self.document
            for part in thing['$ref'].lstrip('#/').split('/'):
                target = target[part]
            thing = target
        return thing

    # ---- judging ----

    def judge(self, operation, answer, what):
        """Any answer of a route must be one that its entry in the document has."""
        said = '%s: %d %r' % (what, answer.status, answer.data[:200])
        entry = operation['responses'].get(str(answer.status))
        if not self.check(entry is not None, said + ': status not documented'):
            return
        content = entry.get('content')
        if answer.status >= 400:
            self.judge_problem(answer, said)
        if content and self.check(answer.type in content, said + ': media type %r not documented' % answer.type):
            schema = content[answer.type].get('schema', {})
            if answer.json is not None:
                found = list(violations(schema, answer.json, self.document))
                self.check(not found, said + ': ' + '; '.join(found))

    def judge_problem(self, answer, said):
        p = answer.json if isinstance(answer.json, dict) else {}
        self.check(answer.type == PROBLEM, said + ': an error is ' + PROBLEM)
        self.check(p.get('status') == answer.status and re.fullmatch(r'[a-z0-9-]+', p.get('code', '')) and p.get('detail'),
                   said + ': status, code or detail are not right')

    def expect(self, operation, answer, status, code, what, field=None):
        wanted = status if isinstance(status, tuple) else (status,)
        said = '%s: %d %r' % (what, answer.status, answer.data[:200])
        self.check(answer.status in wanted, said + ': wanted %s' % (wanted,))
        if operation:
            self.judge(operation, answer, what)
        else:
            self.judge_problem(answer, said)
        if answer.json and isinstance(answer.json, dict):
            if code:
                self.check(answer.json.get('code') == code, said + ': wanted the code ' + code)
            if field:
                self.check(answer.json.get('field') == field, said + ': wanted the field ' + field)

    # ---- making requests ----

    def sample(self, schema):
        """A value that the schema takes, with what is required only."""
        schema = self.resolve(schema)
        if 'examples' in schema and schema['examples'][0] is not None:
            value = schema['examples'][0]
            if not list(violations(schema, value, self.document, answer=False)):
                return value
        if 'default' in schema:
            return schema['default']
        for key in ('oneOf', 'anyOf'):
            if key in schema:
                return self.sample(schema[key][0])
        kind = schema.get('type', 'string')
        kind = kind if isinstance(kind, str) else kind[0]
        if 'enum' in schema:
            return schema['enum'][0]
        if kind == 'object':
            return {name: self.sample(schema['properties'][name]) for name in schema.get('required', [])
                    if not schema['properties'][name].get('readOnly')}
        if kind == 'array':
            return [self.sample(schema.get('items', {})) for _ in range(schema.get('minItems', 0))]
        return {'integer': schema.get('minimum', 1), 'number': schema.get('minimum', 1), 'boolean': True,
                'string': 'x' * max(1, schema.get('minLength', 1))}[kind]

    def existing(self, path):
        """Fills the first parameter with an object that is there, if there is one."""
        listing = path.split('/{')[0]
        if 'get' in self.document['paths'].get(listing, {}) and listing != path:
            page = self.ask('GET', listing)
            items = (page.json or {}).get('items') or []
            if items and 'name' in items[0]:
                return re.sub(r'{[^}]*}', items[0]['name'], path, 1)
        return None

    # ---- the walk ----

    def run(self):
        self.where = 'GET /v1/openapi.json'
        answer = self.ask('GET', '/v1/openapi.json')
        if not self.check(answer.status == 200 and answer.json, '%d %r' % (answer.status, answer.data[:200])):
            return self
        self.document = answer.json
        self.judge_document()
        for path, operations in self.document['paths'].items():
            for method, operation in operations.items():
                self.where = '%s %s' % (method.upper(), path)
                self.walk(method.upper(), path, operation)
            self.where = path
            self.walk_methods(path, operations)
        self.close()
        return self

    def judge_document(self):
        text = json.dumps(self.document)
        self.check(self.document['openapi'].startswith('3.1'), 'OpenAPI 3.1')
        for ref in re.findall(r'"\$ref": "#/([^"]*)"', text):
            target = self.document
            for part in ref.split('/'):
                target = target.get(part, {}) if isinstance(target, dict) else {}
            self.check(target != {}, 'reference to %s leads nowhere' % ref)
        ids = [o['operationId'] for p in self.document['paths'].values() for o in p.values()]
        self.check(len(ids) == len(set(ids)), 'operationIds differ')

    def walk(self, method, template, operation):
        path = re.sub(r'{[^}]*}', NOBODY, template)
        parameters = [self.resolve(p) for p in operation.get('parameters', [])]
        query = '&'.join('%s=%s' % (p['name'], urllib.parse.quote(str(self.sample(p['schema'])))) for p in parameters
                         if p['in'] == 'query' and p['required'])
        headers = {'If-Match': '*'} if any(p['name'] == 'If-Match' for p in parameters) else {}
        is_open = operation.get('security') == []
        self.asked = path + ('?' + query if query else '')
        self.walk_credentials(method, operation, is_open, headers)
        answer = self.ask(method, self.asked + ('&' if query else '?') + 'no_such_parameter=1', self.body_of(operation), headers)
        if operation.get('x-drover-websocket'):
            self.expect(operation, self.ask(method, self.asked), 426, 'upgrade-required', 'no upgrade')
            return
        self.expect(operation, answer, 400, 'parameter-unknown', 'unknown parameter')
        self.expect(operation, self.ask(method, self.asked, self.body_of(operation), dict(headers, Accept='image/png')), 406,
                    'not-acceptable', 'Accept')
        self.walk_parameters(method, operation, parameters, headers)
        if 'requestBody' in operation:
            self.walk_body(method, operation, headers)
        elif method != 'GET':
            self.expect(operation, self.ask(method, self.asked, {}, headers), 400, 'body-unexpected', 'a body')
        if headers:
            self.expect(operation, self.ask(method, self.asked, self.body_of(operation)), 428, 'if-match-missing', 'no If-Match')
        self.walk_answers(method, template, path, operation, parameters, headers)

    def body_of(self, operation):
        if 'requestBody' not in operation:
            return None
        return self.sample(operation['requestBody']['content']['application/json']['schema'])

    def walk_credentials(self, method, operation, is_open, headers):
        if is_open or self.target.is_unix:
            return
        for token, code in ((None, 'credential-missing'), ('drover_' + 'x' * 43, 'token-unknown')):
            answer = self.ask(method, self.asked, token=token)
            self.expect(operation, answer, 401, code, 'no credential')
            self.check('www-authenticate' in answer.fields, 'a 401 says how to authenticate')
        if self.viewer and operation.get('x-drover-role') not in ('viewer', 'none'):
            answer = self.ask(method, self.asked, self.body_of(operation), headers, token=self.viewer)
            self.expect(operation, answer, 403, 'role-insufficient', 'as a viewer')

    def walk_parameters(self, method, operation, parameters, headers):
        for p in parameters:
            if p['in'] != 'query':
                continue
            schema = self.resolve(p['schema'])
            if schema.get('type') in ('integer', 'boolean') or 'enum' in schema:
                answer = self.ask(method, self.asked.split('?')[0] + '?%s=zebra' % p['name'], self.body_of(operation), headers)
                self.expect(operation, answer, 400, 'parameter-invalid', 'parameter ' + p['name'])

    def walk_body(self, method, operation, headers):
        schema = self.resolve(operation['requestBody']['content']['application/json']['schema'])
        body = self.body_of(operation)
        ask = lambda b, **more: self.ask(method, self.asked, b, dict(headers, **more))
        self.expect(operation, ask('{}', **{'Content-Type': 'text/plain'}), 415, 'not-json', 'text')
        self.expect(operation, ask('{'), 400, 'bad-json', 'half a body')
        self.expect(operation, ask('[]'), 400, 'bad-json', 'an array')
        self.expect(operation, ask(dict(body, no_such_field=1)), 422, 'field-invalid', 'unknown field', 'no_such_field')
        for name in schema.get('required', []):
            if schema['properties'][name].get('readOnly'):
                continue
            less = {k: v for k, v in body.items() if k != name}
            if method != 'PATCH':
                self.expect(operation, ask(less), 422, 'field-invalid', 'without ' + name, name)
        self.walk_fields(ask, operation, schema, body, [])

    def walk_fields(self, ask, operation, schema, body, path, depth=0):
        """A value of a wrong type in each field, and the path of the field in the error."""
        for name, field in schema.get('properties', {}).items():
            field = self.resolve(field)
            where = path + [name]
            kinds = json.dumps([field.get('type'), [s.get('type') for s in field.get('oneOf', field.get('anyOf', []))]])
            wrong = {'zebra': 1} if 'object' not in kinds else 'zebra'
            if field == {} or field.get('readOnly'):
                wrong = 7
                if field == {}:
                    continue
            self.expect(operation, ask(self.put(body, where, wrong)), 422, 'field-invalid', 'wrong ' + '.'.join(where),
                        '.'.join(where))
            if field.get('properties') and not field.get('readOnly') and depth < 4:
                inner = self.put(body, where, self.sample(field))
                self.walk_fields(ask, operation, field, inner, where, depth + 1)

    @staticmethod
    def put(body, path, value):
        body = json.loads(json.dumps(body))
        at = body
        for name in path[:-1]:
            at = at.setdefault(name, {})
        at[path[-1]] = value
        return body

    def walk_answers(self, method, template, path, operation, parameters, headers):
        """The honest request: on nobody, and on somebody if that changes nothing."""
        names = [p['name'] for p in parameters]
        dry = '?dry_run=true' if 'dry_run' in names else ''
        if '{' in template:
            answer = self.ask(method, path + dry, self.body_of(operation), headers)
            self.expect(operation, answer, (404, 400), None, 'nobody')
            path = self.existing(template)
            if not path or '{' in path:
                return
        if method == 'GET' and not any(p['required'] and p['in'] == 'query' for p in parameters):
            answer = self.ask('GET', path)
            self.judge(operation, answer, 'honest')
            self.check(answer.status == 200, 'honest: %d %r' % (answer.status, answer.data[:200]))
            head = self.ask('HEAD', path)
            self.check(head.status == 200 and not head.data, 'HEAD')
            if 'etag' in answer.fields:
                again = self.ask('GET', path, headers={'If-None-Match': answer.fields['etag']})
                self.check(again.status == 304 and not again.data, 'If-None-Match: %d' % again.status)
            if 'limit' in names:
                page = self.ask('GET', path + '?limit=1')
                self.judge(operation, page, 'a page of one')
                self.check(len(page.json.get('items', [1, 2])) <= 1, 'a page of one')
        elif dry:
            self.judge(operation, self.ask(method, path + dry, self.body_of(operation), headers), 'dry run')
            if headers:
                answer = self.ask(method, path + dry, self.body_of(operation), {'If-Match': '"no such etag"'})
                self.expect(operation, answer, 412, None, 'another ETag')

    def walk_methods(self, path, operations):
        path = re.sub(r'{[^}]*}', NOBODY, path)
        for method in ('GET', 'POST', 'PUT', 'PATCH', 'DELETE'):
            if method.lower() in operations:
                continue
            answer = self.ask(method, path)
            self.expect(None, answer, 405, 'method-not-allowed', method)
            allowed = {m.strip().lower() for m in answer.fields.get('allow', '').split(',')}
            self.check(set(operations) <= allowed and method.lower() not in allowed, 'Allow: %s' % sorted(allowed))


def read(name):
    if not name:
        return None
    with open(name) as f:
        return f.read().strip()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('--url')
    parser.add_argument('--unix')
    parser.add_argument('--ca')
    parser.add_argument('--token-file')
    parser.add_argument('--viewer-token-file')
    args = parser.parse_args()
    if bool(args.url) == bool(args.unix):
        parser.error('one of --url and --unix')
    target = Target(args.url or 'unix:' + args.unix, read(args.token_file), args.ca)
    contract = Contract(target, read(args.viewer_token_file)).run()
    print('\n'.join(contract.wrong))
    print('%d checks, %d wrong' % (contract.checks, len(contract.wrong)))
    return 1 if contract.wrong else 0


if __name__ == '__main__':
    sys.exit(main())
