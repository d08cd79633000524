// A small OpenID Connect provider: signs with an RSA key of its own, knows whoever it is told about.
import { createHash, generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';

const encoded = (value) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');

/** Listens on this machine: `issuer`, `clientId`, `clientSecret`, `subject` (who signs in there next), `close()`. */
export async function startIdentityProvider() {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const grants = new Map();
  const provider = { clientId: 'flukedeploy', clientSecret: randomBytes(16).toString('hex'), subject: 'nobody' };
  const json = (response, status, value) => {
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(JSON.stringify(value));
  };

  function authorise(query, response) {
    const code = randomBytes(16).toString('hex');
    grants.set(code, { ...Object.fromEntries(query), subject: provider.subject });
    // A page with a button, as they have: so the way back begins on a foreign site.
    const back = new URL(query.get('redirect_uri'));
    for (const [name, value] of Object.entries({ code, state: query.get('state') })) back.searchParams.set(name, value);
    response.writeHead(200, { 'content-type': 'text/html' });
    response.end(`<!DOCTYPE html><html lang="en"><title>Example ID</title><h1>Example ID</h1>
      <a href="${back.href.replaceAll('&', '&amp;')}">Yes, it is me</a>`);
  }

  function exchange(form, headers, response) {
    const basic = Buffer.from(`${provider.clientId}:${provider.clientSecret}`).toString('base64');
    if (headers.authorization !== `Basic ${basic}`) return json(response, 401, { error: 'invalid_client' });
    const grant = grants.get(form.get('code'));
    grants.delete(form.get('code'));
    const challenge = createHash('sha256').update(form.get('code_verifier') ?? '').digest('base64url');
    if (grant?.code_challenge !== challenge) return json(response, 400, { error: 'invalid_grant' });
    const now = Math.floor(Date.now() / 1000);
    const claims = {
      iss: provider.issuer, sub: grant.subject, aud: provider.clientId, iat: now, exp: now + 60,
      auth_time: now, nonce: grant.nonce, preferred_username: `${grant.subject}@example.com`,
    };
    const message = `${encoded({ alg: 'RS256', kid: 'one' })}.${encoded(claims)}`;
    const signature = sign('sha256', Buffer.from(message), privateKey).toString('base64url');
    return json(response, 200, { token_type: 'Bearer', id_token: `${message}.${signature}` });
  }

  const server = createServer(async (request, response) => {
    const url = new URL(request.url, provider.issuer);
    let body = '';
    for await (const part of request) body += part;
    switch (url.pathname) {
      case '/.well-known/openid-configuration':
        return json(response, 200, {
          issuer: provider.issuer,
          authorization_endpoint: `${provider.issuer}/authorise`,
          token_endpoint: `${provider.issuer}/token`,
          jwks_uri: `${provider.issuer}/keys`,
        });
      case '/keys':
        return json(response, 200, { keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'one', use: 'sig' }] });
      case '/authorise':
        return authorise(url.searchParams, response);
      case '/token':
        return exchange(new URLSearchParams(body), request.headers, response);
      default:
        response.writeHead(204);
        return response.end();
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  provider.issuer = `http://localhost:${server.address().port}`;
  provider.close = () => {
    server.closeAllConnections();
    server.close();
  };
  return provider;
}
