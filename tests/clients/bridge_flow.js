// What QE's clients do: fetch credentials by HTTP, connect with them by WebSocket, find a worker by HTTP, call it by a
// chat message and get its answer by another. Ends with what each step came to, as one line of JSON.
//
// Arguments: the directory of the packages, and as JSON: bridge, ws, domain, app, explore (its secret), service (a
// user's secret), origin.
'use strict'

const path = require('node:path')
const zlib = require('node:zlib')
const { createRequire } = require('node:module')
const { pathToFileURL } = require('node:url')

const packages = createRequire(path.join(process.argv[2], 'package.json'))
// The library takes the WebSocket of its platform, which node has from version 22 on.
globalThis.WebSocket = packages('ws')
const given = JSON.parse(process.argv[3])

// As jQuery and axios are used there: the body is JSON, the content type says otherwise or nothing.
async function post (endpoint, members, contentType) {
  const response = await fetch(`http://${given.bridge}${endpoint}`, {
    method: 'POST',
    headers: { origin: given.origin, 'content-type': contentType },
    body: JSON.stringify(members)
  })
  return response.json()
}

// base64 of a zlib stream (RFC 1950) of JSON.
const packed = (members) => zlib.deflateSync(JSON.stringify(members)).toString('base64')
const unpacked = (text) => JSON.parse(zlib.inflateSync(Buffer.from(text, 'base64')).toString('utf8'))

async function main () {
  const load = (name) => import(pathToFileURL(packages.resolve(name)))
  const { client, xml } = await load('@xmpp/client')
  const { domain } = given
  const body = (stanza) => stanza.is('message') && stanza.getChildText('body')

  async function connected (secret, resource, isPublic, contentType) {
    const credentials = await post('/api/bridge/worker/service',
      { secret, image: 'none', resource, public: isPublic }, contentType)
    if (credentials.code !== 0) throw new Error(`credentials: ${JSON.stringify(credentials)}`)
    const { user, password } = credentials
    const entity = client({ service: `ws://${given.ws}/ws`, domain, resource, username: user, password })
    entity.on('error', (error) => { console.error(error) })
    await entity.start()
    await entity.send(xml('presence'))
    return { credentials, entity }
  }

  const worker = await connected(given.explore, 'w1.App.dev', true, 'text/plain')
  worker.entity.on('stanza', (stanza) => {
    if (!body(stanza)) return
    const { mid, api, num1, num2 } = unpacked(body(stanza))
    const reply = api === 'multiply' ? { code: 0, result: num1 * num2, mid } : { code: -1000, mid }
    worker.entity.send(xml('message', { to: stanza.attrs.from, type: 'chat' }, xml('body', {}, packed(reply))))
  })

  const page = await connected(given.service, 'webuo1', false, 'application/x-www-form-urlencoded')
  const found = await post('/api/bridge/worker/findfreeresource',
    { app: given.app, secret: given.service, ownership: '', resource: 'w1.App.dev' }, 'application/json')
  const answered = new Promise((resolve) => page.entity.on('stanza', (stanza) => {
    if (body(stanza)) resolve({ from: stanza.attrs.from, ...unpacked(body(stanza)) })
  }))
  const request = { mid: 'a1b2c3d4e5', api: 'multiply', num1: 6, num2: 7 }
  await page.entity.send(xml('message', { to: found.jids.at(-1), type: 'chat' }, xml('body', {}, packed(request))))
  const answer = await answered
  await Promise.all([worker.entity.stop(), page.entity.stop()])
  const after = await post('/api/bridge/worker/findfreeresource',
    { app: given.app, secret: given.service, ownership: '', resource: '' }, 'application/json')
  process.stdout.write(JSON.stringify({
    worker: worker.credentials, page: page.credentials, found, answer, after
  }) + '\n')
}

main().then(() => process.exit(0), (error) => {
  console.error(error)
  process.exit(1)
})
