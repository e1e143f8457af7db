// The page over a running detector: photographs are given to it, and explained.
const jobs = [];  // those that wait or run, in their order
let working = false;
let isBehind = false;  // of what the server has, which another page of it was given

// ---- The work

// Ask for an explanation: `address` says of what, `body` is a photograph's file,
// and `isOpened` a function that tells whether the page is to show what came out.
function ask(name, address, body, isOpened) {
  const job = {name, address, body, isOpened, abort: new AbortController(), row: null};
  job.query = {method: $('ask-method').value, layer: $('ask-layer').value, score_thr: $('ask-score').value};
  if (body) job.query.name = name;
  if ($('ask-layer').disabled) job.query.layer = '';
  clearDone();
  jobs.push(job);
  buildRow(job);
  work();
}

async function work() {
  if (working) return;
  working = true;
  $('jobs').setAttribute('aria-busy', true);
  while (jobs.length) {
    const [job] = jobs;
    try {
      finish(job, await answer(job));
    } catch (error) {
      if (job.abort.signal.aborted) job.row.remove();
      else fail(job, error.message);
    }
    jobs.splice(jobs.indexOf(job), 1);
    jobs.forEach(describeWaiting);
  }
  working = false;
  if (isBehind) location.reload();
  else $('jobs').setAttribute('aria-busy', false);
}

// The last line of the server's answer; those before it say how far it is.
async function answer(job) {
  if (job.abort.signal.aborted) throw new Error('stopped');
  const most = +$('ask').dataset.most;
  if (job.body && job.body.size > most)
    throw new Error(`the file has more than ${most / 1e6} MB, which is the most that is taken`);
  const body = job.body && await job.body.arrayBuffer().catch(() => {
    throw new Error('the file cannot be read, or is a folder');
  });
  const started = performance.now();
  tell(job, 'is sent');
  const response = await fetch(`${job.address}?${new URLSearchParams(job.query)}`, {
    method: 'POST', body, signal: job.abort.signal,
  }).catch(() => { throw new Error('the server does not answer: does mmdet-diffmap serve still run?'); });
  if (!response.ok) {
    const {error} = await response.json().catch(() => ({error: `the server answers ${response.status}`}));
    throw new Error(error);
  }
  let last = null;
  for await (const line of messagesOf(response.body)) {
    last = JSON.parse(line);
    if ('before' in last) describeWork(job, last, started);
  }
  if (!last || 'before' in last) throw new Error('the server broke off');
  if (last.error) throw new Error(last.error);
  return last;
}

async function* messagesOf(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const {value, done} = await reader.read().catch(() => { throw new Error('the server broke off'); });
    if (done) return;
    const lines = (rest + value).split('\n');
    rest = lines.pop();
    yield* lines;
  }
}

// ---- What became of it

function finish(job, {number, photo, payloads: texts, method, seconds, first}) {
  const old = data.photos[number], named = {};
  if (number > data.photos.length || old && old.name !== photo.name) isBehind = true;
  if (isBehind) return;
  for (const [name, text] of Object.entries(texts)) named[name.replace('-0', `-${number}`)] = text;
  addPhoto(photo, named, number);
  describeEmpty();
  if (job.isOpened(number)) openAnswer(number, old, method);
  clearDone();
  const count = objectsOf(photo).length;
  tell(job, `${count} object${count === 1 ? '' : 's'} above ${job.query.score_thr} by ${method}, in ` +
    `${seconds.toFixed(1)} s${first ? '; the first one takes longer than those that follow' : ''}`);
  job.row.className = 'done';
}

function fail(job, reason) {
  tell(job, reason);
  job.row.className = 'failed';
}

function objectsOf({detectors: [one]}) {
  return one.objects;
}

// Show what a method says, of the objects that are chosen if they are still there.
function openAnswer(number, old, name) {
  const chosen = panels.map(({target, rival, mode, before}) => ({target, rival, mode, before}));
  const isSame = old && state.photo === number &&
    JSON.stringify(objectsOf(old)) === JSON.stringify(objectsOf(data.photos[number]));
  usePhoto(number);
  if (isSame) panels.forEach((panel, index) => Object.assign(panel, chosen[index]));
  useMethod(detector(active()).methods.findIndex(one => one.name === name));
}

function describeEmpty() {
  const isEmpty = !data.photos.length;
  document.body.classList.toggle('empty', isEmpty);
  $('again').disabled = $('clear').disabled = isEmpty;
  if (isEmpty) $('caption').textContent = 'Drop photographs here, paste one, or add files';
}

// ---- The list of work

function buildRow(job) {
  const button = element('button', {type: 'button', textContent: '×', title: 'stop, or take away'});
  button.setAttribute('aria-label', `stop ${job.name}`);
  button.addEventListener('click', () => {
    job.abort.abort();
    if (jobs[0] === job) return;  // it is taken away as soon as it has ended
    if (jobs.includes(job)) jobs.splice(jobs.indexOf(job), 1);
    job.row.remove();
    jobs.forEach(describeWaiting);
  });
  job.row = element('li', {}, element('span', {className: 'name', textContent: job.name, title: job.name}),
    element('span', {className: 'state'}), element('span', {className: 'time', ariaLive: 'off'}), button);
  $('jobs').append(job.row);
  describeWaiting(job);
}

// `time` is how long it takes so far, and `share` how much is done; null if that
// is not known.
function tell(job, text, time = '', share = undefined) {
  const [, state, clock] = job.row.children;
  if (state.textContent !== text) state.textContent = text;  // it is read aloud
  clock.textContent = time;
  if (share === undefined) return job.row.querySelector('progress')?.remove();
  if (!job.row.querySelector('progress')) clock.after(element('progress'));
  if (share !== null) job.row.querySelector('progress').value = share;
}

function describeWaiting(job) {
  const before = jobs.indexOf(job);
  if (before > 0 || !working) tell(job, before ? `waits; ${before} before it` : 'waits');
}

function describeWork(job, {before, share}, started) {
  if (before) return tell(job, `waits for others of this server; ${before} before it`);
  const seconds = ((performance.now() - started) / 1000).toFixed(0);
  const percent = share === null ? '' : `, ${Math.round(100 * share)} %`;
  tell(job, `is explained by ${job.query.method}`, `${seconds} s${percent}`, share);
}

function clearDone() {
  for (const row of $('jobs').querySelectorAll('.done')) row.remove();
}

// ---- What people do

// Of several photographs, the first one is opened.
function addFiles(files) {
  [...files].forEach((file, index) => ask(file.name, 'photographs', file, () => index === 0));
}

// Layers are of methods that need features.
function describeMethod() {
  $('ask-layer').disabled = $('ask-method').selectedOptions[0].className === 'no-layer';
}

function listenToFiles() {
  $('choose').addEventListener('click', () => $('files').click());
  $('files').addEventListener('change', () => {
    addFiles($('files').files);
    $('files').value = '';  // so that the same file can be chosen again
  });
  const dropping = isDropping => document.body.classList.toggle('dropping', isDropping);
  document.addEventListener('dragover', event => {
    event.preventDefault();
    dropping(event.dataTransfer.types.includes('Files'));
  });
  document.addEventListener('dragleave', event => {
    if (event.relatedTarget === null) dropping(false);  // it left the window
  });
  document.addEventListener('drop', event => {
    event.preventDefault();
    dropping(false);
    addFiles(event.dataTransfer.files);
  });
  document.addEventListener('dragstart', event => event.preventDefault());  // the page's own pictures
  document.addEventListener('paste', event => addFiles(event.clipboardData.files));
}

function listenToQuestions() {
  // what is typed here is no key of the page
  $('ask').addEventListener('keydown', event => {
    if (event.target.matches('input, select')) event.stopPropagation();
  });
  $('ask-method').addEventListener('change', describeMethod);
  $('ask').addEventListener('submit', event => {
    event.preventDefault();
    if (data.photos.length)
      ask(photo().name, `photographs/${state.photo}`, null, number => number === state.photo);
  });
  $('clear').addEventListener('click', async () => {
    await fetch('photographs', {method: 'DELETE'});
    location.replace('.');
  });
}

listenToFiles();
listenToQuestions();
describeMethod();
describeEmpty();
