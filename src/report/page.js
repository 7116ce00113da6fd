// Shows the jobs in this page's data as cards, a page of cards at a time as the reader scrolls.
// Every text becomes a text node, so that nothing in a queue can become markup.
'use strict';
(() => {
  const CARDS_PER_PAGE = 60;

  // Endings of the clips that are pictures.
  const PICTURE = /\.(gif|png|jpg|webp)(\?|$)/;
  const MAX_REASONS = 12;
  const MAX_IDS_PER_REASON = 12;
  const SEARCH_DELAY_MS = 80;

  // The fields of a job, in the order of `row.rs`.
  const [
    BATCH, ID, STATE, IMAGE, PROMPT, CLIP, COST, PROVIDER, ATTEMPTS, ELAPSED_S, ERROR, EARLIER,
  ] = Array(12).keys();

  const byId = (id) => document.getElementById(id);
  const names = JSON.parse(byId('names').textContent);
  const jobs = JSON.parse(byId('jobs').textContent);
  const stateOf = (job) => names.states[job[STATE]];
  const stateLabel = (state) => state.replace('_', ' ');
  const formatNumber = (number) => number.toLocaleString('en');

  const searchField = byId('search');
  const stateSelect = byId('state');
  const sourcesCheckbox = byId('sources');
  const cardList = byId('cards');

  let matches = jobs;
  let currentCard = null;

  function createElement(tag, className, ...children) {
    const element = document.createElement(tag);
    if (className) element.className = className;
    element.append(...children);
    return element;
  }

  function createButton(label, onClick) {
    const button = createElement('button', '', label);
    button.type = 'button';
    button.addEventListener('click', onClick);
    return button;
  }

  // ---- A card: the source image beside the clip.

  function createCard(job, index) {
    const card = createElement('li', 'card');
    card.job = job;
    card.tabIndex = -1;
    card.setAttribute('aria-setsize', matches.length);
    card.setAttribute('aria-posinset', index + 1);
    card.setAttribute('aria-label', `${job[ID]}, ${stateLabel(stateOf(job))}`);
    const source = createElement('div', 'well source');
    const clip = createElement('div', 'well clip');
    card.append(createElement('div', 'pair', source, clip), createDetails(job));
    offerSource(card);
    if (!job[CLIP]) clip.append(createElement('p', stateOf(job), missingClipText(job)));
    nearViewport.observe(card);
    return card;
  }

  function missingClipText(job) {
    const state = stateOf(job);
    return state === 'succeeded' ? 'This clip cannot be linked from here' : stateLabel(state);
  }

  function createDetails(job) {
    const state = stateOf(job);
    const heading = createElement('h3', '',
      createElement('span', '', job[ID]), createElement('span', state, stateLabel(state)));
    const details = createElement('div', 'about', heading);
    if (job[PROMPT]) details.append(createElement('p', 'prompt', job[PROMPT]));
    if (job[ERROR]) details.append(createElement('p', 'error', job[ERROR]));
    const facts = [];
    if (names.batches.length > 1 && job[BATCH] !== null) facts.push(names.batches[job[BATCH]]);
    if (job[PROVIDER] !== null) facts.push(names.providers[job[PROVIDER]]);
    const isEstimate = job[COST].startsWith('~');
    facts.push(isEstimate ? `about $${job[COST].slice(1)}` : `$${job[COST]}`);
    if (job[ELAPSED_S] !== null) facts.push(formatSpan(job[ELAPSED_S]));
    if (job[ATTEMPTS] > 1) facts.push(`${job[ATTEMPTS]} attempts`);
    details.append(createElement('p', 'meta', facts.join(' · ')));
    if (job[EARLIER].length) {
      const links = job[EARLIER].map((path, index) => {
        const link = createElement('a', '', `${index + 1}`);
        link.href = path;
        link.setAttribute('aria-label', `Earlier clip ${index + 1} of ${job[ID]}`);
        return link;
      });
      const spaced = links.flatMap((link) => [' ', link]);
      details.append(createElement('p', 'meta', 'Earlier clips:', ...spaced));
    }
    return details;
  }

  function formatSpan(seconds) {
    if (seconds < 90) return `${seconds} s`;
    if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
    return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds % 3600 / 60)} min`;
  }

  // ---- Source images. Most are on another server, and are loaded only if the reader asks.

  const isOnline = (link) => /^https?:/i.test(link);

  function offerSource(card) {
    const well = card.querySelector('.source');
    const link = card.job[IMAGE];
    if (!link) {
      well.replaceChildren(createElement('p', '', 'Source image not linked; see the manifest'));
      return;
    }
    // A local file is loaded when its card comes into view.
    if (!isOnline(link)) return;
    const button = createButton('Show source image', () => showSource(card));
    button.title = link;
    well.replaceChildren(button);
  }

  function showSource(card) {
    const well = card.querySelector('.source');
    if (!card.job[IMAGE] || well.querySelector('img')) return;
    const image = createElement('img');
    image.loading = 'lazy';
    image.decoding = 'async';
    image.referrerPolicy = 'no-referrer';
    image.alt = `Source image of ${card.job[ID]}`;
    image.addEventListener('error', () => {
      const link = createElement('a', '', 'Open the link');
      link.href = card.job[IMAGE];
      link.rel = 'noreferrer noopener';
      link.target = '_blank';
      well.replaceChildren(createElement('p', '', 'The source image cannot be loaded. ', link));
    });
    image.src = card.job[IMAGE];
    well.replaceChildren(image);
  }

  // ---- Players, only for the cards near the viewport: browsers allow a few dozen at once.

  const nearViewport = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) loadCard(target);
      else unloadPlayer(target);
    }
  }, { rootMargin: '300px' });

  function loadCard(card) {
    if (sourcesCheckbox.checked || !isOnline(card.job[IMAGE])) showSource(card);
    const well = card.querySelector('.clip');
    if (!card.job[CLIP] || well.firstChild) return;
    if (PICTURE.test(card.job[CLIP])) showPicture(card, well);
    else showVideo(card, well);
  }

  // A provider may have returned a picture, or an animation that is one.
  function showPicture(card, well) {
    const image = createElement('img');
    image.decoding = 'async';
    image.alt = `Clip of ${card.job[ID]}`;
    image.addEventListener('error', () => showMissing(card, well));
    image.src = card.job[CLIP];
    well.append(image);
  }

  function showVideo(card, well) {
    const video = createElement('video');
    video.controls = true;
    video.playsInline = true;
    video.loop = true;
    video.preload = 'metadata';
    video.setAttribute('aria-label', `Clip of ${card.job[ID]}`);
    video.addEventListener('error', () => showMissing(card, well));
    video.addEventListener('play', () => pauseAllExcept(video));
    video.src = card.job[CLIP];
    well.append(video);
  }

  function showMissing(card, well) {
    const link = createElement('a', '', 'Open the file');
    link.href = card.job[CLIP];
    well.replaceChildren(
      createElement('p', '', 'The clip is missing or cannot be played. ', link));
  }

  // Without this a clip would go on playing out of sight, and its player would count against the
  // browser's limit.
  function unloadPlayer(card) {
    const video = card.querySelector('video');
    if (video && !video.contains(document.activeElement)) {
      video.pause();
      video.remove();
    }
  }

  function playingVideos() {
    return [...cardList.querySelectorAll('video')].filter((video) => !video.paused);
  }

  function pauseAllExcept(exception) {
    for (const video of playingVideos()) if (video !== exception) video.pause();
  }

  function togglePlay(card) {
    loadCard(card);
    const video = card.querySelector('video');
    if (!video) showSource(card);
    // `play` is rejected if the file is missing; the card's error handler shows that.
    else if (video.paused) video.play().catch(() => {});
    else video.pause();
  }

  // ---- The list of cards that match the search, extended while the reader scrolls.

  function updateList() {
    const text = searchField.value.trim().toLowerCase();
    const state = stateSelect.value;
    const hasText = (job) => job[ID].toLowerCase().includes(text)
      || job[PROMPT].toLowerCase().includes(text);
    matches = jobs.filter((job) => (!state || stateOf(job) === state) && (!text || hasText(job)));
    nearViewport.disconnect();
    cardList.replaceChildren();
    currentCard = null;
    byId('count').textContent = matches.length === jobs.length
      ? `${formatNumber(jobs.length)} ${jobs.length === 1 ? 'job' : 'jobs'}`
      : `${formatNumber(matches.length)} of ${formatNumber(jobs.length)} jobs`;
    showMore();
  }

  function showMore() {
    const start = cardList.childElementCount;
    const page = matches.slice(start, start + CARDS_PER_PAGE);
    const cards = page.map((job, index) => createCard(job, start + index));
    cardList.append(...cards);
    if (start === 0 && cards.length) cards[0].tabIndex = 0;
    // Observed anew: an end of the list that is still in view would not be reported again.
    nearEnd.disconnect();
    if (cardList.childElementCount < matches.length) nearEnd.observe(byId('more'));
  }

  const nearEnd = new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting)) showMore();
  }, { rootMargin: '1200px' });

  // ---- What needs attention: jobs in doubt and failed jobs, grouped by reason.

  function showAttention() {
    const inDoubt = jobs.filter((job) => stateOf(job) === 'in_doubt');
    const failed = jobs.filter((job) => stateOf(job) === 'failed');
    const open = [...inDoubt, ...failed];
    if (open.length === 0) return;
    const summary = byId('attention-summary');
    if (inDoubt.length) {
      summary.append(
        `${formatNumber(inDoubt.length)} in doubt, and may have been paid for. Resolve each with `,
        createElement('code', '', names.commands.resolve), '. ');
    }
    if (failed.length) {
      summary.append(
        `${formatNumber(failed.length)} failed. Try again with `,
        createElement('code', '', names.commands.retry),
        '; what is already paid for is not paid for again.');
    }
    const groups = new Map();
    for (const job of open) {
      const key = `${stateOf(job)} ${job[ERROR]}`;
      if (!groups.has(key)) groups.set(key, []);
      groups.get(key).push(job);
    }
    const shownGroups = [...groups.values()].slice(0, MAX_REASONS);
    byId('attention-jobs').append(...shownGroups.map(createReasonItem));
    const shownJobs = shownGroups.reduce((sum, group) => sum + group.length, 0);
    const hiddenJobs = open.length - shownJobs;
    if (hiddenJobs > 0) {
      const more = byId('attention-more');
      more.textContent = `${formatNumber(hiddenJobs)} more`;
      more.hidden = false;
      more.addEventListener('click', () => filter('', failed.length ? 'failed' : 'in_doubt'));
    }
    byId('attention').hidden = false;
  }

  function createReasonItem(group) {
    const state = stateOf(group[0]);
    const links = group.slice(0, MAX_IDS_PER_REASON)
      .map((job) => createButton(job[ID], () => goTo(job)));
    if (group.length > MAX_IDS_PER_REASON) {
      const label = `and ${formatNumber(group.length - MAX_IDS_PER_REASON)} more`;
      links.push(createButton(label, () => filter('', state)));
    }
    const label = stateLabel(state);
    const heading = group.length > 1 ? `${formatNumber(group.length)} ${label}` : label;
    return createElement('li', '',
      createElement('p', state, heading),
      createElement('p', 'reason', group[0][ERROR] || 'No reason recorded'),
      createElement('p', 'ids', ...links));
  }

  function filter(text, state) {
    searchField.value = text;
    stateSelect.value = state;
    updateList();
    byId('gallery').scrollIntoView();
  }

  function goTo(job) {
    filter(job[ID], stateOf(job));
    const index = matches.indexOf(job);
    while (cardList.childElementCount <= index) showMore();
    focusCard(cardList.children[index]);
  }

  // ---- Keyboard.

  function focusCard(card) {
    if (!card) return;
    for (const other of cardList.querySelectorAll('[tabindex="0"].card')) other.tabIndex = -1;
    card.tabIndex = 0;
    card.focus();
  }

  // Returns the card beside another one, or above or below it in the same column.
  function neighbour(card, key) {
    const all = cardList.children;
    const index = [...all].indexOf(card);
    const columns = getComputedStyle(cardList).gridTemplateColumns.split(' ').length;
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[key];
    if (index + step >= all.length && all.length < matches.length) showMore();
    return all[index + step];
  }

  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { key, target } = event;
    const isFormField = target === searchField || target === stateSelect;
    const card = target.classList?.contains('card') ? target : null;
    if (key === '/' && !isFormField) {
      searchField.focus();
      searchField.select();
    } else if (key === 'Escape') {
      if (playingVideos().length) pauseAllExcept(null);
      else if (searchField.value || stateSelect.value) {
        searchField.value = '';
        stateSelect.value = '';
        updateList();
      } else document.activeElement?.blur();
    } else if (key === 'i' && !isFormField) {
      sourcesCheckbox.click();
    } else if (card && key.startsWith('Arrow')) {
      focusCard(neighbour(card, key));
    } else if (target === searchField && key === 'ArrowDown') {
      focusCard(cardList.firstElementChild);
    } else if (target === document.body && (key === 'ArrowLeft' || key === 'ArrowRight')) {
      focusCard(currentCard?.isConnected ? currentCard : cardList.firstElementChild);
    } else if (card && key === 'Enter') {
      togglePlay(card);
    } else return;
    event.preventDefault();
  });

  cardList.addEventListener('focusin', (event) => { currentCard = event.target.closest('.card'); });

  // ---- Setup.

  stateSelect.append(new Option('All states', ''));
  for (const state of names.states) {
    const count = jobs.filter((job) => stateOf(job) === state).length;
    const label = `${stateLabel(state)} (${formatNumber(count)})`;
    if (count) stateSelect.append(new Option(label, state));
  }
  let searchTimer;
  searchField.addEventListener('input', () => {
    clearTimeout(searchTimer);
    searchTimer = setTimeout(updateList, SEARCH_DELAY_MS);
  });
  stateSelect.addEventListener('change', updateList);
  sourcesCheckbox.addEventListener('change', () => {
    for (const card of cardList.children) {
      if (sourcesCheckbox.checked) showSource(card);
      else offerSource(card);
    }
  });
  byId('tools').addEventListener('submit', (event) => {
    event.preventDefault();
    updateList();
    focusCard(cardList.firstElementChild);
  });
  showAttention();
  updateList();
})();
