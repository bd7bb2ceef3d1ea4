// Opens docs/web-page.html in headless Chromium and uses it as a person would, for the integration tests.
//
// Arguments: the directory below which the packages lie, the browser, the page, and a JSON object with what is to be
// typed. Each step leaves a JSON line on standard output that says what the page shows; the test acts in between.
'use strict'

const path = require('node:path')
const { createRequire } = require('node:module')
const { pathToFileURL } = require('node:url')

const [packages, executablePath, page, typed] = process.argv.slice(2)
const { chromium } = createRequire(path.join(packages, 'package.json'))('playwright-core')

const PATIENCE_MS = 30000
// Works for root and in containers, asks nothing of the network, and keeps to a profile of its own.
const FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync'
]

function tell (step, shown) {
  process.stdout.write(JSON.stringify({ step, ...shown }) + '\n')
}

async function submit (tab, form, fields) {
  for (const [name, value] of Object.entries(fields)) {
    await tab.locator(`#${form} [name=${name}]`).fill(value)
  }
  await tab.locator(`#${form} button`).click()
}

// The text of an element once it matches.
async function shown (tab, selector, pattern) {
  const element = tab.locator(selector).filter({ hasText: pattern })
  await element.first().waitFor({ state: 'attached' })
  return element.first().textContent()
}

async function use (tab, { login, wrong, call, channel, say }) {
  await tab.goto(pathToFileURL(page).href)
  await submit(tab, 'login', { ...login, secret: wrong })
  tell('refused', { status: await shown(tab, '#status', /refused/) })
  await submit(tab, 'login', login)
  tell('connected', { status: await shown(tab, '#status', /^connected/) })
  const { nobody, ...wanted } = call
  await submit(tab, 'call', { ...wanted, app: nobody })
  tell('failed', { reply: await shown(tab, '#reply', /code/) })
  await submit(tab, 'call', { ...wanted, body: 'not JSON' })
  tell('mistyped', { reply: await shown(tab, '#reply', /JSON/) })
  await submit(tab, 'call', wanted)
  tell('called', {
    reply: await shown(tab, '#reply', /result/),
    answerer: await tab.locator('#answerer').textContent()
  })
  await submit(tab, 'join', { channel })
  tell('joined', { joined: await shown(tab, '#joined', /joined/) })
  tell('heard', { message: await shown(tab, '#messages li', /first/) })
  await submit(tab, 'say', say)
  tell('said', { message: await shown(tab, '#messages li', /second/) })
  // What came from others stayed text.
  tell('clean', { markup: await tab.locator('#reply *, #messages li *, img').count() })
  tell('closed', { status: await shown(tab, '#status', /closed/) })
}

async function main () {
  const browser = await chromium.launch({ executablePath, headless: true, args: FLAGS })
  try {
    const tab = await browser.newPage()
    tab.setDefaultTimeout(PATIENCE_MS)
    const errors = []
    tab.on('pageerror', (error) => errors.push(String(error)))
    tab.on('console', (message) => { if (message.type() === 'error') errors.push(message.text()) })
    try {
      await use(tab, JSON.parse(typed))
    } catch (error) {
      const status = await tab.locator('#status').textContent()
      throw new Error(`${error.message}\nstatus: ${status}\nerrors: ${errors.join('\n')}`)
    }
    tell('end', { errors })
  } finally {
    await browser.close()
  }
}

main().catch((error) => {
  console.error(error.message)
  process.exitCode = 1
})
