/**
 * The HTML report in a real browser without a network: plots are painted in light, dark and on paper, nothing complains, hostile texts
 * stay texts. Skipped where no Chromium or Chrome is found (SHARDFETCH_BROWSER names one). With SHARDFETCH_SCREENSHOTS=folder it leaves
 * what it saw there.
 */

import { accessSync, constants, mkdtempSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import puppeteer, { type Browser, type Page } from 'puppeteer-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { htmlOf } from '../../src/cli/reports/html.ts';
import { HOSTILE_TEXT, troubledRun } from './reports-rig.ts';
import { endings } from './rig.ts';

const BROWSERS = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'].map(
  (name) => `/usr/bin/${name}`,
);
const PLOTS = ['rate', 'latency', 'errors', 'connections', 'percentiles'];

function findBrowser(): string | undefined {
  return [process.env.SHARDFETCH_BROWSER ?? '', ...BROWSERS].find((file) => {
    try {
      accessSync(file, constants.X_OK);
      return file !== '';
    } catch {
      return false;
    }
  });
}

const executablePath = findBrowser();
const reason = executablePath === undefined ? ' (skipped: no Chromium found; apt-get install chromium)' : '';

describe.skipIf(executablePath === undefined)(`the HTML report in a browser${reason}`, () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'shardfetch-html-'));
  endings.push(() => rm(folder, { recursive: true }));
  const complaints: string[] = [];
  const requested: string[] = [];
  let browser: Browser;
  let page: Page;

  beforeAll(async () => {
    const [result] = await Promise.all([
      troubledRun(),
      puppeteer
        // What is opened is this file alone; a container's root has no sandbox to give.
        .launch({ executablePath: executablePath as string, args: ['--no-sandbox', '--disable-gpu'] })
        .then((launched) => {
          browser = launched;
        }),
    ]);
    const file = path.join(folder, 'report.html');
    const hostile = { ...result, notes: [HOSTILE_TEXT], errorExamples: { CONNECTION_LOST: HOSTILE_TEXT } };
    writeFileSync(file, htmlOf(hostile, HOSTILE_TEXT));
    page = await browser.newPage();
    page.on('console', (message) => complaints.push(message.text()));
    page.on('pageerror', (error) => complaints.push(String(error)));
    page.on('request', (request) => requested.push(request.url()));
    await page.setViewport({ width: 1_000, height: 800 });
    await page.setOfflineMode(true);
    await page.goto(pathToFileURL(file).href);
  });
  afterAll(() => browser?.close());

  /** By plot: how many different colours its canvas has, and whether the pixels are mostly dark or light. */
  const painted = () =>
    page.evaluate(`Object.fromEntries([...document.querySelectorAll('.plot')].map((plot) => {
      const canvas = plot.querySelector('canvas');
      // Read from a copy: Chromium complains of a canvas that is read often and was not made for it.
      const copy = Object.assign(document.createElement('canvas'), { width: canvas.width, height: canvas.height });
      const pixels = copy.getContext('2d', { willReadFrequently: true });
      pixels.drawImage(canvas, 0, 0);
      const { data } = pixels.getImageData(0, 0, canvas.width, canvas.height);
      const colours = new Set();
      for (let at = 0; at < data.length; at += 4) if (data[at + 3] === 255) colours.add(data[at] << 16 | data[at + 1] << 8 | data[at + 2]);
      return [plot.id, colours.size];
    }))`) as Promise<Record<string, number>>;
  const paper = () => page.evaluate('getComputedStyle(document.body).backgroundColor') as Promise<string>;
  const screenshot = async (name: string) => {
    const folder = process.env.SHARDFETCH_SCREENSHOTS;
    const image = await page.screenshot({ fullPage: true });
    if (folder !== undefined) writeFileSync(path.join(folder, `${name}.png`), image);
    return image.length;
  };

  test('every plot is painted, in light and in dark', async () => {
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: 'light' }]);
    const light = await painted();
    expect(Object.keys(light).sort()).toEqual([...PLOTS].sort());
    // Axes, grid and at least one line, each with its smoothed edges.
    for (const [plot, colours] of Object.entries(light)) expect(colours, plot).toBeGreaterThan(10);
    expect(await paper()).toBe('rgb(255, 255, 255)');
    expect(await screenshot('light')).toBeGreaterThan(20_000);
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: 'dark' }]);
    for (const [plot, colours] of Object.entries(await painted())) expect(colours, plot).toBeGreaterThan(10);
    expect(await paper()).toBe('rgb(15, 19, 24)');
    await screenshot('dark');
  });

  test('a dark screen prints on white paper, and fits a page’s width', async () => {
    const pdf = await page.pdf({ format: 'A4' });
    expect(Buffer.from(pdf).subarray(0, 5).toString('latin1')).toBe('%PDF-');
    await page.emulateMediaType('print');
    expect(await paper()).toBe('rgb(255, 255, 255)');
    for (const [plot, colours] of Object.entries(await painted())) expect(colours, plot).toBeGreaterThan(10);
    await page.emulateMediaType('screen');
  });

  test('a narrow screen shows all of it without scrolling sideways', async () => {
    await page.setViewport({ width: 390, height: 800 });
    await page.waitForFunction('document.querySelector("canvas").clientWidth < 390');
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(390);
    await screenshot('narrow');
  });

  test('texts with markup are texts; nothing is fetched; nothing complains', async () => {
    expect(await page.evaluate('globalThis.broken')).toBeUndefined();
    expect(await page.evaluate('document.images.length')).toBe(0);
    expect(await page.evaluate('document.body.innerText')).toContain(HOSTILE_TEXT);
    expect(await page.evaluate('document.querySelectorAll("table").length')).toBeGreaterThan(6);
    expect(requested.filter((url) => !url.startsWith('file:'))).toEqual([]);
    expect(complaints).toEqual([]);
  });

  test('the policy of the page refuses scripts that are not its own', async () => {
    await page.evaluate(
      `document.body.append(Object.assign(document.createElement('script'), { text: 'globalThis.foreign = 1' }))`,
    );
    expect(await page.evaluate('globalThis.foreign')).toBeUndefined();
    expect(complaints.splice(0).join()).toContain('Content Security Policy');
  });
});
