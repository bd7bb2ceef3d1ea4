// Speaks TLS by node's tls module for the integration tests: the same command and the same lines as tls_probe.py.
'use strict'

const fs = require('node:fs')
const net = require('node:net')
const tls = require('node:tls')

const command = JSON.parse(process.argv[2])

/** What comes up to and with `wanted`. */
function readUntil(stream, wanted) {
  return new Promise((resolve, reject) => {
    let answer = ''
    const ended = () => reject(new Error(`closed before ${wanted}, after ${answer}`))
    const take = (bytes) => {
      answer += bytes.toString('latin1')
      if (answer.includes(wanted)) {
        stream.off('data', take)
        stream.off('end', ended)
        resolve(answer)
      }
    }
    stream.on('data', take)
    stream.on('end', ended)
    stream.on('error', reject)
  })
}

async function speak(session) {
  const plain = net.connect(command.port, command.host)
  for (const [said, wanted] of command.starttls || []) {
    plain.write(said)
    await readUntil(plain, wanted)
  }
  const version = `TLSv${command.version}`
  const stream = tls.connect({
    socket: plain,
    ca: fs.readFileSync(command.ca_file),
    servername: command.name,
    minVersion: version,
    maxVersion: version,
    ALPNProtocols: command.alpn,
    session,
  })
  let kept = null
  stream.on('session', (fresh) => { kept = fresh })
  stream.write(Buffer.from(command.say, 'base64'))
  const answer = await readUntil(stream, command.until)
  // A session that is resumed shows none.
  const { subjectaltname = '' } = stream.getPeerCertificate()
  const names = subjectaltname.split(', ').map((name) => name.replace(/^[^:]*:/, ''))
  const told = {
    version: stream.getProtocol(),
    alpn: stream.alpnProtocol || null,
    reused: stream.isSessionReused(),
    names,
    answer,
  }
  told.end = await new Promise((resolve) => {
    stream.on('end', () => resolve('good-bye'))
    stream.on('error', (error) => resolve(error.code))
    stream.resume()
    stream.write(Buffer.from(command.leave, 'base64'))
  })
  stream.destroy()
  console.log(JSON.stringify(told))
  return kept || session
}

speak(undefined)
  .then((session) => speak(session))
  .catch((error) => {
    console.error(error)
    process.exit(1)
  })
