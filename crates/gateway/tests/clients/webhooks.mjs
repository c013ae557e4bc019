// A receiver that verifies webhooks with npm's standardwebhooks. It prints its address, and ends
// when it has received as many as WEBHOOKS states.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';

import { Webhook } from 'standardwebhooks';

// Signs during the rotation of the secret, or is the only one.
const webhook = new Webhook(process.env.WEBHOOK_SECRET);
const expected = Number(process.env.WEBHOOKS);
const types = [];

const server = createServer(async (request, response) => {
  let body = '';
  for await (const part of request) body += part;
  const event = webhook.verify(body, request.headers);
  types.push(event.type);
  const changed = body.replace('"type"', '"kind"');
  assert.throws(() => webhook.verify(changed, request.headers), /No matching signature/);
  assert.equal(event.data.message.content, 'hello €');
  response.writeHead(204).end();
  if (types.length === expected) {
    console.log('verified', types.join(' '));
    server.close();
    server.closeIdleConnections();
    setTimeout(() => process.exit(0), 100);
  }
});
server.listen(0, '127.0.0.1', () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}/hook`);
});
