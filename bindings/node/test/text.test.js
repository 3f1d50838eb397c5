// Tokenizers, chats and answers, beside those of transformers.

import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { after, test } from 'node:test';
import { STORIES, root } from './common.js';
import { ChatParser, Model, TextStream, Tokenizer } from '../lib/index.js';

const here = `${root}tests/tokenizers/`;
const read = (path) => JSON.parse(readFileSync(here + path, 'utf8'));
const folders = [];
after(() => folders.forEach((folder) => rmSync(folder, { recursive: true })));

/** A tokenizer with a chat template. */
function withTemplate(name, template) {
  const folder = mkdtempSync(`${tmpdir()}/ortshard-node-`);
  folders.push(folder);
  copyFileSync(`${here}${name}/tokenizer.json`, `${folder}/tokenizer.json`);
  const templates = typeof template === 'string' ? template : Object.entries(template).map(([name, text]) => ({ name, template: text }));
  const config = { bos_token: '<s>', eos_token: '</s>', chat_template: templates };
  writeFileSync(`${folder}/tokenizer_config.json`, JSON.stringify(config));
  return Tokenizer.open(folder);
}

for (const name of ['qwen', 'llama2', 'gemma']) {
  test(`${name}: texts and ids are those of transformers`, () => {
    const tokenizer = Tokenizer.open(`${here}${name}/tokenizer.json`);
    const { vocab_size: size, encode, bytes } = read(`${name}/golden.json`);
    assert.equal(tokenizer.vocabSize, size);
    let tried = 0;
    const all = encode.filter(({ text }) => !text.includes('\0'));
    assert.deepEqual(tokenizer.encodeTexts(all.map(({ text }) => text)), all.map(({ plain }) => plain));
    assert.deepEqual(tokenizer.encodeTexts([]), []);
    for (const { text, ids, plain, as_text: asText, ranges } of all) {
      assert.equal(tokenizer.count(text), plain.length);
      const given = tokenizer.encodeWithRanges(text, { addSpecial: true });
      assert.deepEqual(given.map(({ id }) => id), ids);
      const line = Buffer.from(text);
      const slices = ranges.map(([start, end]) => line.subarray(start, end).toString());
      assert.deepEqual(given.map(({ start, end }) => text.slice(start, end)), slices, text);
      tried += 1;
      assert.deepEqual(tokenizer.encode(text, { addSpecial: true }), ids, text);
      assert.deepEqual(tokenizer.encode(text), plain, text);
      assert.deepEqual(tokenizer.encode(text, { specialAsText: true }), asText, text);
      const stream = new TextStream(tokenizer);
      const pieces = plain.map((id) => stream.push(id));
      assert.equal(pieces.join('') + stream.finish(), tokenizer.decode(plain));
    }
    assert.ok(tried > 10);
    const token = tokenizer.idToToken(5);
    assert.equal(tokenizer.tokenToId(token), 5);
    assert.equal(tokenizer.tokenToId('no token at all'), null);
    bytes.forEach((hex, id) => hex !== null && assert.equal(Buffer.from(tokenizer.tokenBytes(id)).toString('hex'), hex));
  });
}

test('a long text comes back', () => {
  const tokenizer = Tokenizer.open(`${here}qwen/tokenizer.json`);
  const long = 'many words, '.repeat(2000);
  const ids = tokenizer.encode(long);
  assert.ok(ids.length > 5000);
  assert.equal(tokenizer.decode(ids), long);
  assert.deepEqual(tokenizer.encode(''), []);
});

test('chats are those of transformers', () => {
  const golden = read('chats.json');
  assert.ok(golden.cases.length > 100);
  let whole = 0;
  for (const [tokenizer, template, messages, options, text] of golden.cases.slice(0, 200)) {
    if (typeof text !== 'string' || typeof golden.templates[template] !== 'string') continue;
    whole += 1;
    const opened = withTemplate(golden.tokenizers[tokenizer], golden.templates[template]);
    const given = golden.options[options];
    const chat = {
      tools: given.tools ?? undefined,
      documents: given.documents ?? undefined,
      variables: given.variables ?? undefined,
      templateName: given.template ?? undefined,
      continueField: given.continue_field ?? undefined,
      addGenerationPrompt: given.add_generation_prompt ?? false,
    };
    assert.equal(opened.chatText(golden.messages[messages], chat), text);
    assert.deepEqual(opened.chatIds(golden.messages[messages], chat), opened.encode(text));
  }
  assert.ok(whole > 20, `${whole} chats`);
});

/** A message without what may differ: white space around texts, ids, and keys that say nothing. */
function plain({ content = '', reasoning_content: reasoning = '', tool_calls: calls = [] }) {
  return { content: content.trim(), reasoning: reasoning.trim(), calls: calls.map((call) => call.function) };
}

test('answers are parsed as in transformers, in any pieces', () => {
  const tokenizer = Tokenizer.open(`${here}qwen/tokenizer.json`);
  for (const { format, prompt, text, tools, message } of read('answers.json')) {
    for (const size of [1, 7, text.length]) {
      const parser = new ChatParser(tokenizer, { format, prompt: prompt ?? undefined, tools: tools ?? undefined });
      const characters = [...text];
      const events = [];
      for (let at = 0; at < characters.length; at += size) events.push(...parser.push(characters.slice(at, at + size).join('')));
      events.push(...parser.finish());
      assert.deepEqual(plain(parser.message()), plain(message), `${format}: ${text}`);
      const said = events.filter(({ kind }) => kind === 'content').map((event) => event.text);
      assert.equal(said.join(''), parser.message().content ?? '');
      const calls = events.filter(({ kind }) => kind === 'tool_call');
      assert.deepEqual(calls.map(({ name }) => name), (message.tool_calls ?? []).map((call) => call.function.name));
    }
  }
});

test('a model answers messages', async () => {
  const model = await Model.load(STORIES);
  const answer = model.chat([{ role: 'user', content: 'One morning' }], { maxNewTokens: 20, sampling: { temperature: 0 } });
  let text = '';
  for await (const event of answer) text += event.text;
  assert.ok(text.length > 20);
  assert.deepEqual(answer.message, { role: 'assistant', content: text });
});
