// The programs of README.md run where nothing but the package is installed.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { STORIES } from './common.js';

const own = fileURLToPath(new URL('..', import.meta.url));
const folder = mkdtempSync(`${tmpdir()}/ortshard-node-`);
after(() => rmSync(folder, { recursive: true }));

function run(command, ...parameters) {
  const { PATH, HOME, ORTSHARD_LIBRARY, ORTSHARD_ONNXRUNTIME } = process.env;
  const env = { PATH, HOME, ORTSHARD_LIBRARY, ...(ORTSHARD_ONNXRUNTIME && { ORTSHARD_ONNXRUNTIME }) };
  const ran = spawnSync(command, parameters, { cwd: folder, encoding: 'utf8', env });
  assert.equal(ran.status, 0, `${command} ${parameters.join(' ')}: ${ran.stderr}`);
  return ran.stdout;
}

test('the programs of the README', () => {
  const packed = run('npm', 'pack', '--silent', own).trim();
  writeFileSync(`${folder}/package.json`, '{ "private": true }');
  run('npm', 'install', '--silent', '--no-audit', '--no-fund', '--prefer-offline', `./${packed}`);
  const programs = readFileSync(`${own}README.md`, 'utf8').split('```js\n').slice(1).map((rest) => rest.split('```')[0]);
  const [text, structure, shards] = programs.map((program, at) => {
    writeFileSync(`${folder}/program${at}.mjs`, program);
    return run(process.execPath, `program${at}.mjs`, STORIES);
  });
  assert.ok(text.length > 100, text);
  assert.match(structure, /^(fox|owl)\ntrue true\n$/);
  assert.match(shards, /^4 \[ 1, 1, 192 \] \d+\nINVALID_ARGUMENT\n$/);
});
