// Runs named MQTT connections of mqtt.js for the integration tests.
//
// Commands come as JSON lines on standard input, events leave as JSON lines on standard output; both carry the
// name of the connection in "client". Payloads and correlation data are base64. Ends when standard input does.
'use strict'

const { readFileSync } = require('node:fs')
const path = require('node:path')
const readline = require('node:readline')
const { createRequire } = require('node:module')

// The packages lie below the directory named by the only argument.
const packages = createRequire(path.join(process.argv[2], 'package.json'))
const mqtt = packages('mqtt')
const WebSocket = packages('ws')

const NAMES = {
  payload_format_indicator: 'payloadFormatIndicator',
  message_expiry_interval: 'messageExpiryInterval',
  content_type: 'contentType',
  response_topic: 'responseTopic',
  correlation_data: 'correlationData',
  subscription_identifier: 'subscriptionIdentifier',
  session_expiry_interval: 'sessionExpiryInterval',
  assigned_client_identifier: 'assignedClientIdentifier',
  server_keep_alive: 'serverKeepAlive',
  authentication_method: 'authenticationMethod',
  authentication_data: 'authenticationData',
  request_problem_information: 'requestProblemInformation',
  will_delay_interval: 'willDelayInterval',
  request_response_information: 'requestResponseInformation',
  response_information: 'responseInformation',
  server_reference: 'serverReference',
  reason_string: 'reasonString',
  receive_maximum: 'receiveMaximum',
  topic_alias_maximum: 'topicAliasMaximum',
  topic_alias: 'topicAlias',
  maximum_qos: 'maximumQoS',
  retain_available: 'retainAvailable',
  user_properties: 'userProperties',
  maximum_packet_size: 'maximumPacketSize',
  wildcard_subscription_available: 'wildcardSubscriptionAvailable',
  subscription_identifiers_available: 'subscriptionIdentifiersAvailable',
  shared_subscription_available: 'sharedSubscriptionAvailable'
}
const BINARY = new Set(['correlation_data', 'authentication_data'])
// One byte, 0 or 1, which the library takes as a boolean.
const FLAGS = new Set(['payload_format_indicator', 'request_problem_information', 'request_response_information'])

function emit (client, event, fields) {
  process.stdout.write(JSON.stringify({ client, event, ...fields }) + '\n')
}

function toProperties (given) {
  if (!given) return undefined
  const properties = {}
  for (const [name, value] of Object.entries(given)) {
    if (BINARY.has(name)) {
      properties[NAMES[name]] = Buffer.from(value, 'base64')
    } else if (FLAGS.has(name)) {
      properties[NAMES[name]] = Boolean(value)
    } else if (name === 'user_properties') {
      // An empty table would make the library leave out all other properties.
      if (value.length === 0) continue
      const table = {}
      for (const [key, text] of value) (table[key] ??= []).push(text)
      properties.userProperties = table
    } else {
      properties[NAMES[name]] = value
    }
  }
  return properties
}

// mqtt.js keeps user properties in a table: the order of different names survives, that of interleaved equal
// names does not.
function fromProperties (properties) {
  const found = {}
  if (!properties) return found
  for (const [name, attribute] of Object.entries(NAMES)) {
    const value = properties[attribute]
    if (value === undefined) continue
    if (BINARY.has(name)) {
      found[name] = Buffer.from(value).toString('base64')
    } else if (name === 'user_properties') {
      found[name] = Object.entries(value).flatMap(([key, texts]) => [].concat(texts).map((text) => [key, text]))
    } else if (name === 'subscription_identifier') {
      found[name] = [].concat(value)
    } else {
      found[name] = value
    }
  }
  return found
}

class Connection {
  constructor (name, command) {
    this.name = name
    this.five = command.version === 5
    this.references = { puback: new Map(), suback: new Map(), unsuback: new Map() }
    const scheme = { tcp: 'mqtt', tls: 'mqtts', ws: 'ws', wss: 'wss' }[command.transport]
    const place = command.transport.startsWith('ws') ? command.path : ''
    this.client = mqtt.connect(`${scheme}://${command.host}:${command.port}${place}`, {
      protocolVersion: this.five ? 5 : 4,
      clientId: command.client_id,
      cert: command.cert_file ? readFileSync(command.cert_file) : undefined,
      key: command.key_file ? readFileSync(command.key_file) : undefined,
      username: command.user ?? undefined,
      password: command.password ?? undefined,
      clean: command.clean,
      keepalive: command.keepalive,
      reconnectPeriod: 0,
      resubscribe: false,
      connectTimeout: 60000,
      properties: this.five ? toProperties(command.properties) : undefined,
      will: command.will && {
        topic: command.will.topic,
        payload: Buffer.from(command.will.payload, 'base64'),
        qos: command.will.qos,
        retain: command.will.retain,
        properties: this.five ? toProperties(command.will.properties) : undefined
      },
      createWebsocket: (url, protocols, options) => {
        this.socket = new WebSocket(url, protocols, options.wsOptions)
        this.socket.on('close', (code) => { this.closeCode = code })
        return this.socket
      }
    })
    this.client.handleAuth = (packet, callback) => {
      // Who has been challenged answers by the command `auth`.
      if (packet.reasonCode === 0x18) this.challenged = callback
      else callback()
      emit(name, 'auth', { code: packet.reasonCode, properties: fromProperties(packet.properties) })
    }
    this.client.on('connect', (packet) => this.connack(packet))
    this.client.on('packetreceive', (packet) => this.received(packet))
    this.client.on('message', (topic, payload, packet) => {
      emit(name, 'message', {
        topic,
        payload: payload.toString('base64'),
        qos: packet.qos,
        retain: packet.retain,
        dup: packet.dup,
        properties: fromProperties(packet.properties)
      })
    })
    this.client.on('error', (error) => { this.reason = String(error.message || error.code) })
    this.client.on('close', () => {
      emit(name, 'closed', { reason: this.reason ?? '', ws_code: this.closeCode ?? null })
    })
  }

  connack (packet) {
    emit(this.name, 'connack', {
      code: this.five ? packet.reasonCode : packet.returnCode,
      session_present: packet.sessionPresent,
      properties: fromProperties(packet.properties)
    })
  }

  received (packet) {
    switch (packet.cmd) {
      case 'connack':
        // A success is reported by the event `connect`, once the client takes commands.
        if ((this.five ? packet.reasonCode : packet.returnCode) !== 0) this.connack(packet)
        break
      case 'disconnect':
        emit(this.name, 'disconnect', { code: packet.reasonCode ?? 0, properties: fromProperties(packet.properties) })
        break
      case 'puback':
        this.acked('puback', packet, { code: packet.reasonCode ?? 0 })
        break
      case 'pubrec':
        if ((packet.reasonCode ?? 0) >= 0x80) this.acked('puback', packet, { code: packet.reasonCode })
        break
      case 'pubcomp':
        this.acked('puback', packet, { code: packet.reasonCode ?? 0 })
        break
      case 'suback':
      case 'unsuback':
        this.acked(packet.cmd, packet, { codes: packet.granted ?? [] })
        break
    }
  }

  acked (event, packet, fields) {
    const ref = this.references[event].get(packet.messageId)
    this.references[event].delete(packet.messageId)
    emit(this.name, event, { ref, ...fields, properties: fromProperties(packet.properties) })
  }

  // The packet identifier is allocated before the library's calls return, the acknowledgement read later.
  sent (event, ref) {
    this.references[event].set(this.client.getLastMessageId(), ref)
  }

  subscribe (command) {
    const wanted = {}
    for (const one of command.filters) {
      wanted[one.filter] = {
        qos: one.qos,
        nl: one.no_local ?? false,
        rap: one.retain_as_published ?? false,
        rh: one.retain_handling ?? 0
      }
    }
    const options = this.five ? { properties: toProperties(command.properties) } : {}
    this.client.subscribe(wanted, options, (error) => this.refused('subscribe', error))
    this.sent('suback', command.ref)
  }

  unsubscribe (command) {
    this.client.unsubscribe(command.filters, {}, (error) => this.refused('unsubscribe', error))
    this.sent('unsuback', command.ref)
  }

  publish (command) {
    const options = { qos: command.qos, retain: command.retain }
    if (this.five) options.properties = toProperties(command.properties)
    const payload = Buffer.from(command.payload, 'base64')
    this.client.publish(command.topic, payload, options, (error) => this.refused('publish', error))
    if (command.qos > 0) this.sent('puback', command.ref)
  }

  // An error with a reason code or a packet came from the peer and is reported as its acknowledgement.
  refused (what, error) {
    if (error && error.code === undefined && !error.packet && !/closed|disconnect/i.test(error.message)) {
      emit(this.name, 'failure', { reason: `${what}: ${error.message}` })
    }
  }

  auth (command) {
    const packet = { cmd: 'auth', reasonCode: command.code, properties: toProperties(command.properties) }
    const answer = this.challenged
    this.challenged = undefined
    // The library begins no exchange by itself once it is connected.
    if (answer) answer(undefined, packet)
    else this.client._sendPacket(packet)
  }

  disconnect (command) {
    const options = this.five
      ? { reasonCode: command.reason ?? 0, properties: toProperties(command.properties) }
      : {}
    this.client.end(false, options)
  }

  // Ends the connection without a DISCONNECT.
  kill () {
    if (this.socket) this.socket.terminate()
    else this.client.stream.destroy()
  }
}

const connections = new Map()

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  const command = JSON.parse(line)
  try {
    if (command.do === 'connect') {
      connections.set(command.client, new Connection(command.client, command))
    } else if (command.do === 'forget') {
      const connection = connections.get(command.client)
      connections.delete(command.client)
      connection?.kill()
      connection?.client.end(true)
    } else {
      connections.get(command.client)[command.do](command)
    }
  } catch (error) {
    emit(command.client, 'failure', { reason: `${command.do}: ${error.message}` })
  }
}).on('close', () => process.exit(0))
