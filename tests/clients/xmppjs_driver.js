// Runs named XMPP connections of @xmpp/client for the integration tests.
//
// Commands come as JSON lines on standard input, events leave as JSON lines on standard output; both carry the
// name of the connection in "client". Payloads are base64. Ends when standard input does.
//
// What means the same as with MQTT is told in the same words: "connack" is the end of a login, "suback" the
// answer to a registration, and a "message" has the topic and the user properties that a block of MQTT 5.0 would
// have been given, so that one test can look at both. The stanza itself is always told along with it.
'use strict'

const path = require('node:path')
const readline = require('node:readline')
const { createRequire } = require('node:module')
const { pathToFileURL } = require('node:url')

// The packages lie below the directory named by the only argument.
const packages = createRequire(path.join(process.argv[2], 'package.json'))
// The library takes the WebSocket of its platform, which node has from version 22 on.
globalThis.WebSocket = packages('ws')

const NEXUS = 'urn:nexus:1'
const JSON_CONTAINER = 'urn:xmpp:json:0'
const ERRORS = 'urn:ietf:params:xml:ns:xmpp-stanzas'
// A little longer than the daemon's own time-out, so that its outcome is seen and not the library's.
const PATIENCE_MS = 35000
// MQTT codes that the tests know: granted, refused, and a login that is denied.
const GRANTED = 0
const REFUSED = 0x80
const DENIED = 0x87

let library

function emit (client, event, fields) {
  process.stdout.write(JSON.stringify({ client, event, ...fields }) + '\n')
}

const base64 = (text) => Buffer.from(text, 'utf8').toString('base64')
const text = (given) => Buffer.from(given, 'base64').toString('utf8')

// Attributes that were not given are left out.
function element (name, attributes, ...children) {
  const given = Object.entries(attributes).filter(([, value]) => value !== undefined && value !== null)
  return library.xml(name, Object.fromEntries(given), ...children)
}

// `<sender/>` as MQTT 5.0 has it.
function senderOf (parent) {
  const senders = parent?.getChildren('sender', NEXUS) ?? []
  return {
    user_properties: senders.flatMap(({ attrs }) =>
      ['app', 'uid', 'role', 'resource'].map((name) => [`nexus-${name}`, attrs[name]])),
    sender_jids: senders.map(({ attrs }) => attrs.jid)
  }
}

// A login hashes for a long time, all in this one thread. Who began with many others would not be done before the server
// gives up on it: so many begin at a time, and one that does not end holds up the others for so long.
const LOGINS_AT_ONCE = 6
const LOGIN_MS_MAX = 3000
let loggingIn = 0
const waiting = []

function inTurn (login) {
  waiting.push(login)
  nextLogin()
}

function nextLogin () {
  if (loggingIn >= LOGINS_AT_ONCE || waiting.length === 0) return
  loggingIn += 1
  let over = false
  const end = () => {
    if (over) return
    over = true
    loggingIn -= 1
    nextLogin()
  }
  setTimeout(end, LOGIN_MS_MAX).unref()
  waiting.shift()().then(end)
}

class Connection {
  constructor (name, command) {
    this.name = name
    this.resource = command.client_id
    this.requests = new Map()
    this.online = false
    this.entity = library.client({
      service: `${command.transport}://${command.host}:${command.port}${command.path}`,
      domain: command.domain,
      resource: command.client_id || undefined,
      username: command.user ?? undefined,
      // Left alone, the library takes the first mechanism of its own list that is offered.
      credentials: command.user === null
        ? undefined
        : (authenticate, offered) => {
            this.offered = offered
            const mechanism = command.mechanism ?? offered[0]
            return authenticate({ username: command.user, password: command.password ?? '' }, mechanism)
          },
      timeout: 60000
    })
    if (!command.properties?.reconnect) this.entity.reconnect.stop()
    this.entity.streamManagement.on('resumed', () => {
      emit(name, 'connack', { code: GRANTED, session_present: true, properties: {} })
    })
    this.entity.on('online', (jid) => {
      this.online = true
      this.entered(name, command, jid)
    })
    this.entity.on('error', (error) => this.failed(error))
    this.entity.on('disconnect', ({ reason }) => {
      emit(name, 'closed', { reason: this.reason ?? '', ws_code: reason?.code ?? null })
    })
    this.entity.on('stanza', (stanza) => this.received(stanza))
    this.entity.iqCallee.set(NEXUS, 'api', (context) => this.asked(context))
    inTurn(() => this.entity.start().catch((error) => this.failed(error)))
  }

  // The library says that it is online before stream management is enabled.
  entered (name, command, jid) {
    if (command.properties?.reconnect && !this.entity.streamManagement.enabled) {
      return setTimeout(() => this.entered(name, command, jid), 5)
    }
    emit(name, 'connack', {
      code: GRANTED,
      session_present: false,
      properties: { assigned_client_identifier: jid.resource, jid: jid.toString(), offered: this.offered }
    })
  }

  // The library tells most failures twice: by an event and by the promise that waits.
  failed (error) {
    if (error.name === 'StreamError') {
      if (this.reason === undefined) emit(this.name, 'streamerror', { condition: error.condition, text: error.text })
      this.reason ??= error.condition
    }
    if (this.online || this.denied) return
    this.denied = true
    emit(this.name, 'connack', {
      code: DENIED,
      session_present: false,
      properties: { condition: error.condition ?? '', reason_string: error.message, offered: this.offered }
    })
  }

  received (stanza) {
    if (stanza.is('message')) {
      this.message(stanza)
    } else if (stanza.is('presence')) {
      emit(this.name, 'presence', { stanza: stanza.toString() })
    }
  }

  message (stanza) {
    const { type, id, from } = stanza.attrs
    const published = stanza.getChild('publish', NEXUS)
    const body = stanza.getChild('body')
    this.told({
      topic: published ? published.attrs.channel : '$nexus/direct',
      payload: published ? published.text() : body?.text() ?? '',
      retain: published?.attrs.retain === 'true',
      properties: { ...senderOf(stanza), type, id, from },
      stanza
    })
  }

  told ({ topic, payload, retain = false, properties, stanza }) {
    emit(this.name, 'message', {
      topic, payload: base64(payload), qos: 0, retain, dup: false, properties, stanza: stanza.toString()
    })
  }

  // A request for a listener of this block; the promise is kept until the test answers.
  asked ({ stanza, element: api }) {
    const token = stanza.attrs.id
    return new Promise((resolve) => {
      this.requests.set(token, resolve)
      this.told({
        topic: `$nexus/listen/${api.attrs.cmd}`,
        payload: api.getChildText('json', JSON_CONTAINER) ?? '',
        properties: { ...senderOf(api), response_topic: `$nexus/answer/${token}`, from: stanza.attrs.from },
        stanza
      })
    })
  }

  answer (command) {
    const token = command.token
    const body = element('api', { xmlns: NEXUS }, element('json', { xmlns: JSON_CONTAINER }, text(command.payload)))
    const resolve = this.requests.get(token)
    this.requests.delete(token)
    // Who was not asked answers all the same: the daemon must not take it.
    if (!resolve) return this.entity.send(element('iq', { type: 'result', id: token, to: this.entity.jid.domain }, body))
    resolve(body)
  }

  // Declines a request as a worker that does not know the command would.
  decline (command) {
    const [type, condition] = command.error
    this.requests.get(command.token)(element('error', { type }, element(condition, { xmlns: ERRORS })))
    this.requests.delete(command.token)
  }

  // The outcome of an API request, with the body of a failure as every other face has it.
  async call (command) {
    const request = element('api', {
      xmlns: NEXUS,
      app: command.app,
      cmd: command.cmd,
      resource: command.resource,
      ownership: command.ownership,
      prioritize_mine: command.prioritize_mine ? 'true' : undefined
    }, element('json', { xmlns: JSON_CONTAINER }, text(command.payload)))
    const iq = element('iq', { type: 'set', id: command.id, to: command.to }, request)
    const reply = { topic: `answers/${this.resource}` }
    try {
      const stanza = await this.entity.iqCaller.request(iq, PATIENCE_MS)
      const api = stanza.getChild('api', NEXUS)
      reply.payload = api.getChildText('json', JSON_CONTAINER)
      reply.properties = senderOf(api)
      reply.properties.user_properties.push(['nexus-code', api.attrs.code])
      reply.stanza = stanza
    } catch (error) {
      if (!error.element) throw error
      const code = error.element.getChild('failure', NEXUS)?.attrs.code
      reply.payload = JSON.stringify({ code: Number(code), error: error.text })
      reply.properties = { user_properties: [['nexus-code', code]], condition: error.condition, type: error.type }
      reply.stanza = error.element.parent
    }
    reply.properties.correlation_data = base64(command.id)
    this.told(reply)
  }

  // Registrations and any other request: its answer is a result or the condition of an error.
  async iq (command) {
    const iq = element('iq', { type: command.type, to: command.to, id: command.id }, library.parse(command.xml))
    try {
      const stanza = await this.entity.iqCaller.request(iq, PATIENCE_MS)
      emit(this.name, 'result', { ref: command.ref, condition: null, stanza: stanza.toString() })
    } catch (error) {
      if (!error.element) throw error
      const { condition, type, element } = error
      emit(this.name, 'result', { ref: command.ref, condition, type, stanza: element.parent.toString() })
    }
  }

  async register (command, registration) {
    let codes = [GRANTED]
    try {
      await this.entity.iqCaller.request(element('iq', { type: 'set' }, registration), PATIENCE_MS)
    } catch (error) {
      if (!error.element) throw error
      codes = [REFUSED]
    }
    emit(this.name, 'suback', { ref: command.ref, codes })
  }

  listen (command) {
    return this.register(command, element('listen', { xmlns: NEXUS, cmd: command.cmd }))
  }

  unlisten (command) {
    return this.register(command, element('unlisten', { xmlns: NEXUS, cmd: command.cmd }))
  }

  subscribe (command) {
    return this.register(command, element('subscribe', { xmlns: NEXUS, channel: command.channel }))
  }

  unsubscribe (command) {
    return this.register(command, element('unsubscribe', { xmlns: NEXUS, channel: command.channel }))
  }

  publish (command) {
    const retain = command.retain === undefined ? undefined : String(command.retain)
    const publish = element('publish', { xmlns: NEXUS, channel: command.channel, retain }, text(command.payload))
    return this.entity.send(element('message', {}, publish))
  }

  // Nexus-Direct: by app and resource, or as a plain chat message where `to` is given.
  direct (command) {
    if (command.to !== undefined) {
      const { to, type, id } = command
      return this.entity.send(element('message', { to, type, id }, element('body', {}, text(command.payload))))
    }
    const { app, resource } = command
    return this.entity.send(element('message', {}, element('direct', { xmlns: NEXUS, app, resource }, text(command.payload))))
  }

  // Any stanza, as the library writes it.
  send (command) {
    return this.entity.send(library.parse(command.xml))
  }

  disconnect () {
    this.entity.reconnect.stop()
    return this.entity.stop()
  }

  // Ends the connection without a good-bye.
  kill () {
    this.entity.reconnect.stop()
    this.entity.socket?.socket?.terminate()
  }
}

const connections = new Map()

async function run (command) {
  if (command.do === 'connect') {
    connections.set(command.client, new Connection(command.client, command))
  } else if (command.do === 'forget') {
    const connection = connections.get(command.client)
    connections.delete(command.client)
    connection?.kill()
  } else {
    await connections.get(command.client)[command.do](command)
  }
}

async function main () {
  const load = (name) => import(pathToFileURL(packages.resolve(name)))
  const [{ client, xml }, { default: parse }] = await Promise.all([load('@xmpp/client'), load('@xmpp/xml/lib/parse.js')])
  library = { client, xml, parse }
  readline.createInterface({ input: process.stdin }).on('line', (line) => {
    const command = JSON.parse(line)
    run(command).catch((error) => {
      // A connection that ends takes its open requests along; the test has been told of the end.
      if (connections.has(command.client) && !/closing|timeout/i.test(error.name + error.message)) {
        emit(command.client, 'failure', { reason: `${command.do}: ${error.message}` })
      }
    })
  }).on('close', () => process.exit(0))
}

main()
