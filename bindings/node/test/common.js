// What tests need: the library of this repository, and models with transformers' answers.

import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../../../', import.meta.url));
process.env.ORTSHARD_LIBRARY ??= `${root}target/release/libortshard.so`;

export const STORIES = `${root}models/stories`;
export const TINY = `${root}tests/models/llama_gqa`;

/** The prompt and the greedy ids of a model. */
export function golden(folder) {
  const { prompt_ids: prompt, greedy_ids: greedy } = JSON.parse(readFileSync(`${folder}/golden.json`, 'utf8'));
  return { folder, prompt, greedy };
}

/** All models that transformers has continued. */
export function models() {
  const names = readdirSync(`${root}tests/models`).sort();
  return names.map((name) => `${root}tests/models/${name}`).filter((folder) => existsSync(`${folder}/golden.json`)).map(golden);
}

/** Tokens that a step gives, one after another. */
export async function greedy(step, prompt, count) {
  const tokens = [];
  for (let input = prompt; tokens.length < count; input = tokens.slice(-1)) tokens.push(await step(input));
  return tokens;
}
