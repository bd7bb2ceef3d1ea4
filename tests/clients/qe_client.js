// A block as QE's JavaScript has them, a worker or the page of a web front: credentials and workers by HTTP, requests
// as chat messages whose body is base64 of a zlib stream, channels as rooms. For the tests in tests/qe/.
//
// Arguments: the directory of the packages, and as JSON: bridge, ws, domain, secret, resource, public, explore (the
// secret that a worker asks for entitlement with, or null). Commands come as JSON lines on standard input, events leave
// as JSON lines on standard output. Ends when standard input does.
'use strict'

const path = require('node:path')
const readline = require('node:readline')
const zlib = require('node:zlib')
const { createRequire } = require('node:module')
const { pathToFileURL } = require('node:url')

const packages = createRequire(path.join(process.argv[2], 'package.json'))
// The library takes the WebSocket of its platform, which node has from version 22 on.
globalThis.WebSocket = packages('ws')
const given = JSON.parse(process.argv[3])

const MUC_USER = 'http://jabber.org/protocol/muc#user'
const TIMEOUT_MS = 30000
const LETTERS = 'abcdefghijklmnopqrstuvwxyz0123456789'

let xml
let entity
const pending = new Map()
// The real address of an occupant, by the exact `from` of its presence.
const occupants = new Map()

function tell (event, fields) {
  process.stdout.write(JSON.stringify({ event, ...fields }) + '\n')
}

// The content type says nothing of JSON.
async function post (endpoint, members) {
  const response = await fetch(`http://${given.bridge}${endpoint}`, {
    method: 'POST',
    headers: { origin: 'https://front.example', 'content-type': 'application/x-www-form-urlencoded' },
    body: JSON.stringify(members)
  })
  return response.json()
}

const packed = (members) => zlib.deflateSync(JSON.stringify(members)).toString('base64')

// What is no zlib stream of JSON is taken as it is.
function unpacked (text) {
  try {
    return JSON.parse(zlib.inflateSync(Buffer.from(text, 'base64')).toString('utf8'))
  } catch {
    return text
  }
}

const newMid = () => Array.from({ length: 10 }, () => LETTERS[Math.floor(Math.random() * LETTERS.length)]).join('')

function say (to, members) {
  return entity.send(xml('message', { to, type: 'chat' }, xml('body', {}, packed(members))))
}

// [app, uid, role, resource] of a full address; nothing if it is not of three parts with a uid of 24 hex digits.
function senderOf (from) {
  const [account, resource] = from.split(`@${given.domain}/`)
  const [app, uid, role] = account.split('-')
  return /^[0-9a-f]{24}$/.test(uid) && role && resource ? { app, uid, role, resource } : null
}

// What a worker does for whom.
async function served ({ api, ...body }, sender) {
  if (api === 'ping') return { code: 0, pong: true }
  if (api !== 'multiply') return { code: -1000, error: 'no api handler' }
  const live = await post('/api/service/hasaliveservice', { exploresecret: given.explore, uid: sender.uid })
  if (live.code !== 0) return { code: live.code, error: 'no service' }
  const named = await post('/api/service/getbysecret', { servicesecret: live.secret, uid: sender.uid })
  return { code: 0, result: body.num1 * body.num2, text: body.text, servid: live.servid, same: named.servid === live.servid, sender }
}

async function chat (stanza) {
  const { from, type } = stanza.attrs
  const came = unpacked(stanza.getChildText('body'))
  const { mid, api } = came
  const waiting = pending.get(mid)
  if (waiting) {
    pending.delete(mid)
    return waiting({ from, body: came })
  }
  if (mid === undefined || api === undefined) return tell('direct', { from, type: type ?? null, body: came })
  const sender = senderOf(from)
  if (!sender) return
  tell('asked', { from, type: type ?? null, api, length: stanza.getChildText('body').length })
  await say(from, { ...await served(came, sender), mid })
}

function occupantOf (stanza) {
  const { from, type } = stanza.attrs
  const jid = stanza.getChild('x', MUC_USER)?.getChild('item')?.attrs.jid
  if (jid) occupants.set(from, jid)
  tell('presence', { from, type: type ?? null, jid: jid ?? null })
}

function received (stanza) {
  if (stanza.is('presence')) return occupantOf(stanza)
  if (!stanza.is('message') || !stanza.getChild('body')) return
  const { type, from } = stanza.attrs
  if (type !== 'groupchat') return chat(stanza)
  // A message with a stamp is taken for history.
  if (stanza.getChild('delay')) return
  const [room, nick] = from.split('/')
  tell('channel', { room: room.split('@')[0], nick, jid: occupants.get(from) ?? null, text: stanza.getChildText('body') })
}

// Asks a worker of an app. Who prefers its own takes the first address, others the last.
async function api ({ ref, app, resource, ownership, prioritizeMine, to, members }) {
  let target = to
  if (target === undefined) {
    const found = await post('/api/bridge/worker/findfreeresource',
      { app, secret: given.secret, ownership: ownership ?? '', resource: resource ?? '' })
    target = prioritizeMine ? found.jids[0] : found.jids[found.jids.length - 1]
    if (target === undefined) return tell('reply', { ref, jids: found.jids, body: { code: found.code } })
  }
  const mid = newMid()
  const answered = new Promise((resolve) => {
    pending.set(mid, resolve)
    setTimeout(() => resolve({ from: null, body: { error: 'timeout' } }), TIMEOUT_MS).unref()
  })
  await say(target, { mid, ...members })
  const { from, body } = await answered
  const { mid: repeated, ...rest } = body
  tell('reply', { ref, target, from, same: repeated === mid, body: rest })
}

const room = (channel) => `${channel}@conference.${given.domain}`

const commands = {
  api,
  find: async ({ ref, members }) =>
    tell('found', { ref, ...await post('/api/bridge/worker/findfreeresource', { secret: given.secret, ...members }) }),
  direct: ({ to, members, text }) => members === undefined
    ? entity.send(xml('message', { to, type: 'chat' }, xml('body', {}, text)))
    : say(to, members),
  join: ({ channel, nick, type }) => entity.send(xml('presence', { to: `${room(channel)}/${nick}`, ...(type && { type }) })),
  leave: ({ channel }) => entity.send(xml('presence', { to: room(channel), type: 'unavailable' })),
  // With the wrong `from` of the deployed workers.
  say: ({ channel, text, from }) => entity.send(
    xml('message', { to: room(channel), type: 'groupchat', ...(from && { from }) }, xml('body', {}, text))),
  error: ({ to, members }) => entity.send(xml('message', { to, type: 'error' }, xml('body', {}, packed(members)))),
  cut: () => entity.socket?.socket?.terminate()
}

async function main () {
  const load = (name) => import(pathToFileURL(packages.resolve(name)))
  const library = await load('@xmpp/client')
  xml = library.xml
  const { resource } = given
  const credentials = await post('/api/bridge/worker/service',
    { secret: given.secret, image: 'none', resource, public: given.public })
  tell('credentials', credentials)
  if (credentials.code !== 0) return
  const { user: username, password } = credentials
  entity = library.client({ service: `ws://${given.ws}/ws`, domain: given.domain, resource, username, password: given.password ?? password })
  // The library comes back by itself after a second, for ever.
  entity.on('online', async (jid) => {
    await entity.send(xml('presence'))
    tell('online', { jid: jid.toString() })
  })
  entity.streamManagement?.on('resumed', () => tell('online', { jid: entity.jid.toString() }))
  entity.on('disconnect', () => tell('offline', {}))
  entity.on('error', (error) => {
    tell('error', { condition: error.condition ?? null })
    // The page gives up: no more attempts.
    if (error.condition === 'not-authorized') entity.reconnect.stop()
  })
  entity.on('stanza', (stanza) => Promise.resolve(received(stanza)).catch((error) => tell('failure', { reason: error.stack })))
  readline.createInterface({ input: process.stdin }).on('line', (line) => {
    const { do: what, ...command } = JSON.parse(line)
    Promise.resolve(commands[what](command)).catch((error) => tell('failure', { reason: `${what}: ${error.stack}` }))
  }).on('close', () => process.exit(0))
  entity.start().catch(() => {})
}

main().catch((error) => {
  console.error(error)
  process.exit(1)
})
