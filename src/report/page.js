// Shows the jobs that stand in this page as cards: some at once, more as they are scrolled to. Every text becomes a text
// node, so that nothing in a queue is ever markup.
'use strict';
(() => {
  const PAGE = 60;
  const LISTED = 12;
  const NAMED = 12;
  const [BATCH, ID, STATE, IMAGE, PROMPT, CLIP, COST, PROVIDER, ATTEMPTS, TOOK, ERROR] = Array(11).keys();

  const find = (id) => document.getElementById(id);
  const words = JSON.parse(find('words').textContent);
  const jobs = JSON.parse(find('jobs').textContent);
  const stateOf = (job) => words.states[job[STATE]];
  const spoken = (state) => state.replace('_', ' ');
  const number = (n) => n.toLocaleString('en');

  const search = find('search');
  const states = find('state');
  const sources = find('sources');
  const cards = find('cards');

  let found = jobs;
  let current = null;

  function element(name, className, ...children) {
    const made = document.createElement(name);
    if (className) made.className = className;
    made.append(...children);
    return made;
  }

  // ---- A card: the source image beside the clip.

  function card(job, place) {
    const made = element('li', 'card');
    made.job = job;
    made.tabIndex = -1;
    made.setAttribute('aria-setsize', found.length);
    made.setAttribute('aria-posinset', place + 1);
    made.setAttribute('aria-label', `${job[ID]}, ${spoken(stateOf(job))}`);
    const source = element('div', 'well source');
    made.append(element('div', 'pair', source, element('div', 'well clip')), about(job));
    offerSource(made);
    if (!job[CLIP]) made.querySelector('.clip').append(element('p', stateOf(job), noClip(job)));
    inView.observe(made);
    return made;
  }

  function noClip(job) {
    return stateOf(job) === 'succeeded' ? 'the clip cannot be linked from here' : spoken(stateOf(job));
  }

  function about(job) {
    const text = element('div', 'about',
      element('h3', '', element('span', '', job[ID]), element('span', stateOf(job), spoken(stateOf(job)))));
    if (job[PROMPT]) text.append(element('p', 'prompt', job[PROMPT]));
    if (job[ERROR]) text.append(element('p', 'error', job[ERROR]));
    const facts = [];
    if (words.batches.length > 1 && job[BATCH] !== null) facts.push(words.batches[job[BATCH]]);
    if (job[PROVIDER] !== null) facts.push(words.providers[job[PROVIDER]]);
    facts.push(job[COST].startsWith('~') ? `about $${job[COST].slice(1)}` : `$${job[COST]}`);
    if (job[TOOK] !== null) facts.push(span(job[TOOK]));
    if (job[ATTEMPTS] > 1) facts.push(`${job[ATTEMPTS]} attempts`);
    text.append(element('p', 'meta', facts.join(' · ')));
    return text;
  }

  function span(seconds) {
    if (seconds < 90) return `${seconds} s`;
    if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
    return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds % 3600 / 60)} min`;
  }

  // ---- Most source images stand on somebody else's server: those are loaded only when a person asks.

  const isOnline = (link) => /^https?:/i.test(link);

  function offerSource(of) {
    const well = of.querySelector('.source');
    const link = of.job[IMAGE];
    if (!link) return well.replaceChildren(element('p', '', 'the source image is in the manifest'));
    // A file is loaded when its card comes into view.
    if (!isOnline(link)) return undefined;
    const offer = element('button', '', 'Show source image');
    offer.type = 'button';
    offer.title = link;
    offer.addEventListener('click', () => showSource(of));
    return well.replaceChildren(offer);
  }

  function showSource(of) {
    const well = of.querySelector('.source');
    if (!of.job[IMAGE] || well.querySelector('img')) return;
    const image = element('img');
    image.loading = 'lazy';
    image.decoding = 'async';
    image.referrerPolicy = 'no-referrer';
    image.alt = `source image of ${of.job[ID]}`;
    image.addEventListener('error', () => {
      const link = element('a', '', 'open its link');
      link.href = of.job[IMAGE];
      link.rel = 'noreferrer noopener';
      link.target = '_blank';
      well.replaceChildren(element('p', '', 'the source image cannot be loaded: ', link));
    });
    image.src = of.job[IMAGE];
    well.replaceChildren(image);
  }

  // ---- A player for each card in view, and for no other: browsers allow a few dozen.

  const inView = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) isIntersecting ? load(target) : unload(target);
  }, { rootMargin: '300px' });

  function load(of) {
    if (sources.checked || !isOnline(of.job[IMAGE])) showSource(of);
    const well = of.querySelector('.clip');
    if (!of.job[CLIP] || well.firstChild) return;
    const video = element('video');
    video.controls = true;
    video.playsInline = true;
    video.loop = true;
    video.preload = 'metadata';
    video.setAttribute('aria-label', `clip of ${of.job[ID]}`);
    video.addEventListener('error', () => {
      const link = element('a', '', 'open it');
      link.href = of.job[CLIP];
      well.replaceChildren(element('p', '', 'the clip is not there, or cannot be played: ', link));
    });
    video.addEventListener('play', () => stopOthers(video));
    video.src = of.job[CLIP];
    well.append(video);
  }

  function unload(of) {
    const video = of.querySelector('video');
    // Away from its card a clip would play on unseen; and its player is one of the few dozen.
    if (video && !video.contains(document.activeElement)) {
      video.pause();
      video.remove();
    }
  }

  function playing() {
    return [...cards.querySelectorAll('video')].filter((video) => !video.paused);
  }

  function stopOthers(but) {
    for (const video of playing()) if (video !== but) video.pause();
  }

  function play(of) {
    load(of);
    const video = of.querySelector('video');
    if (!video) return showSource(of);
    // Refused where the file is gone; its card says so.
    return video.paused ? video.play().catch(() => {}) : video.pause();
  }

  // ---- The list: what is searched for, some at once.

  function show() {
    const text = search.value.trim().toLowerCase();
    const state = states.value;
    found = jobs.filter((job) => (!state || stateOf(job) === state)
      && (!text || job[ID].toLowerCase().includes(text) || job[PROMPT].toLowerCase().includes(text)));
    inView.disconnect();
    cards.replaceChildren();
    current = null;
    find('count').textContent = found.length === jobs.length
      ? `${number(jobs.length)} ${jobs.length === 1 ? 'job' : 'jobs'}`
      : `${number(found.length)} of ${number(jobs.length)} jobs`;
    showMore();
  }

  function showMore() {
    const from = cards.childElementCount;
    const added = found.slice(from, from + PAGE).map((job, index) => card(job, from + index));
    cards.append(...added);
    if (from === 0 && added.length) added[0].tabIndex = 0;
    // Watched anew, or an end that is still in view after this page would never be told again.
    nearEnd.disconnect();
    if (cards.childElementCount < found.length) nearEnd.observe(find('more'));
  }

  const nearEnd = new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting)) showMore();
  }, { rootMargin: '1200px' });

  // ---- What needs a human.

  function needsHuman() {
    const needs = (state) => jobs.filter((job) => stateOf(job) === state);
    const [inDoubt, failed] = [needs('in_doubt'), needs('failed')];
    const all = [...inDoubt, ...failed];
    if (all.length === 0) return;
    const what = find('human-what');
    if (inDoubt.length) {
      what.append(`${number(inDoubt.length)} in doubt, and may have been paid: `,
        element('code', '', 'overnight resolve JOB'), '. ');
    }
    if (failed.length) {
      what.append(`${number(failed.length)} failed: `, element('code', '', 'overnight retry JOB'),
        ' tries again; what is paid is not paid again.');
    }
    // What failed for one reason is one thing to look into.
    const reasons = new Map();
    for (const job of all) {
      const reason = `${stateOf(job)} ${job[ERROR]}`;
      if (!reasons.has(reason)) reasons.set(reason, []);
      reasons.get(reason).push(job);
    }
    const shown = [...reasons.values()].slice(0, LISTED);
    find('human-jobs').append(...shown.map(reasonItem));
    const left = all.length - shown.reduce((sum, group) => sum + group.length, 0);
    if (left > 0) {
      const more = find('human-more');
      more.textContent = `${number(left)} more`;
      more.hidden = false;
      more.addEventListener('click', () => filter('', failed.length ? 'failed' : 'in_doubt'));
    }
    find('human').hidden = false;
  }

  function reasonItem(group) {
    const state = stateOf(group[0]);
    const names = group.slice(0, NAMED).map((job) => {
      const name = element('button', '', job[ID]);
      name.type = 'button';
      name.addEventListener('click', () => goTo(job));
      return name;
    });
    if (group.length > NAMED) {
      const rest = element('button', '', `and ${number(group.length - NAMED)} more`);
      rest.type = 'button';
      rest.addEventListener('click', () => filter('', state));
      names.push(rest);
    }
    const many = group.length > 1 ? `${number(group.length)} ${spoken(state)}` : spoken(state);
    return element('li', '', element('p', state, many), element('p', 'reason', group[0][ERROR] || 'no reason is known'),
      element('p', 'names', ...names));
  }

  function filter(text, state) {
    search.value = text;
    states.value = state;
    show();
    find('gallery').scrollIntoView();
  }

  function goTo(job) {
    filter(job[ID], stateOf(job));
    const index = found.indexOf(job);
    while (cards.childElementCount <= index) showMore();
    focus(cards.children[index]);
  }

  // ---- Keys.

  function focus(of) {
    if (!of) return;
    for (const card of cards.querySelectorAll('[tabindex="0"].card')) card.tabIndex = -1;
    of.tabIndex = 0;
    of.focus();
  }

  // The card a key leads to from another: beside it, or in the next row at the same height.
  function neighbour(of, key) {
    const all = cards.children;
    const index = [...all].indexOf(of);
    const columns = getComputedStyle(cards).gridTemplateColumns.split(' ').length;
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[key];
    if (index + step >= all.length && all.length < found.length) showMore();
    return cards.children[index + step];
  }

  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const at = event.target;
    const writes = at === search || at === states;
    const on = at.classList?.contains('card') ? at : null;
    const arrow = event.key.startsWith('Arrow');
    if (event.key === '/' && !writes) {
      search.focus();
      search.select();
    } else if (event.key === 'Escape') {
      if (playing().length) stopOthers(null);
      else if (search.value || states.value) {
        search.value = states.value = '';
        show();
      } else document.activeElement?.blur();
    } else if (event.key === 'i' && !writes) {
      sources.click();
    } else if (on && arrow) {
      focus(neighbour(on, event.key));
    } else if (at === search && event.key === 'ArrowDown') {
      focus(cards.firstElementChild);
    } else if (at === document.body && (event.key === 'ArrowLeft' || event.key === 'ArrowRight')) {
      focus(current?.isConnected ? current : cards.firstElementChild);
    } else if (on && event.key === 'Enter') {
      play(on);
    } else return;
    event.preventDefault();
  });

  cards.addEventListener('focusin', (event) => { current = event.target.closest('.card'); });

  // ---- Begin.

  states.append(new Option('all states', ''));
  for (const state of words.states) {
    const of = jobs.filter((job) => stateOf(job) === state).length;
    if (of) states.append(new Option(`${spoken(state)} (${number(of)})`, state));
  }
  let pause;
  search.addEventListener('input', () => {
    clearTimeout(pause);
    pause = setTimeout(show, 80);
  });
  states.addEventListener('change', show);
  sources.addEventListener('change', () => {
    for (const of of cards.children) sources.checked ? showSource(of) : offerSource(of);
  });
  find('tools').addEventListener('submit', (event) => {
    event.preventDefault();
    show();
    focus(cards.firstElementChild);
  });
  needsHuman();
  show();
})();
