// Search, copy buttons and ages. Every page works without it.
'use strict';
(() => {
  const root = document.currentScript.dataset.root;
  const find = (id) => document.getElementById(id);

  const age = (seconds) => {
    const units = [[86400, 'day'], [3600, 'hour'], [60, 'minute']];
    const past = Math.abs(seconds);
    const [length, unit] = units.find(([length]) => past >= length) || [1, 'second'];
    const count = Math.floor(past / length);
    const words = `${count} ${unit}${count === 1 ? '' : 's'}`;
    return seconds < 0 ? `in ${words}` : `${words} ago`;
  };
  const since = (date) => age((Date.now() - Date.parse(date)) / 1000);

  const ages = () => {
    for (const time of document.querySelectorAll('time.age')) {
      time.nextElementSibling.textContent = ` (${since(time.dateTime)})`;
    }
  };

  const copied = async (text, block) => {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      // The clipboard API needs TLS; the old command works on the selection.
      const selection = getSelection();
      selection.selectAllChildren(block);
      return document.execCommand('copy');
    }
  };
  const offerCopies = () => {
    for (const button of document.querySelectorAll('.copy button')) {
      const block = button.parentElement.querySelector('code');
      button.hidden = false;
      button.addEventListener('click', async () => {
        button.textContent = (await copied(block.textContent, block)) ? 'Copied' : 'Press Ctrl+C';
        setTimeout(() => { button.textContent = 'Copy'; }, 3000);
      });
    }
  };

  // The list's rows as text; nothing is measured while typing.
  const offerSearch = () => {
    const form = find('search');
    if (!form) return;
    const [query, vendor, type, sort] = ['query', 'vendor', 'type', 'sort'].map(find);
    const list = find('list');
    const rows = [...list.children].map((row) => ({
      row,
      text: row.textContent.toLowerCase(),
      vendor: row.querySelector('a').textContent.split('/')[0],
      type: row.querySelector('i').textContent,
      date: row.querySelector('time').textContent,
    }));
    for (const select of [vendor, type]) {
      const counts = new Map();
      for (const row of rows) counts.set(row[select.id], (counts.get(row[select.id]) || 0) + 1);
      for (const [name, count] of [...counts].sort()) select.add(new Option(`${name} (${count})`, name));
    }
    const fields = { q: query, vendor, type, sort };
    let order = '';
    const search = () => {
      const words = query.value.toLowerCase().split(/\s+/).filter(Boolean);
      let count = 0;
      for (const { row, text, vendor: of, type: is } of rows) {
        row.hidden = (vendor.value && of !== vendor.value) || (type.value && is !== type.value)
          || !words.every((word) => text.includes(word));
        if (!row.hidden) count += 1;
      }
      if (sort.value !== order) {
        order = sort.value;
        const sorted = order ? [...rows].sort((a, b) => b.date.localeCompare(a.date)) : rows;
        list.append(...sorted.map(({ row }) => row));
      }
      const isFiltered = words.length > 0 || vendor.value || type.value;
      find('else').hidden = isFiltered || sort.value;
      find('found').textContent = count ? (isFiltered ? `${count} of ${rows.length} packages` : '')
        : 'No package matches. Press Escape in the search field to see all.';
      const address = new URL(location.href);
      for (const [key, field] of Object.entries(fields)) {
        if (field.value) address.searchParams.set(key, field.value); else address.searchParams.delete(key);
      }
      history.replaceState(null, '', address);
    };
    form.hidden = false;
    if (matchMedia('(hover: hover)').matches) query.placeholder = 'Press / to search';
    form.addEventListener('input', search);
    form.addEventListener('submit', (event) => event.preventDefault());
    const asked = new URLSearchParams(location.search);
    for (const [key, field] of Object.entries(fields)) {
      field.value = asked.get(key) || '';
      if (field.selectedIndex === -1) field.value = '';
    }
    if (Object.values(fields).some((field) => field.value)) search();
    const links = () => [...list.children].filter((row) => !row.hidden).map((row) => row.querySelector('a'));
    document.addEventListener('keydown', (event) => {
      const focused = document.activeElement;
      const inList = list.contains(focused);
      if (event.key === '/' && !form.contains(focused) && !event.ctrlKey && !event.metaKey) {
        event.preventDefault();
        query.focus();
      } else if (event.key === 'Escape' && (focused === query || inList)) {
        for (const field of Object.values(fields)) field.value = '';
        search();
        query.focus();
      } else if ((event.key === 'ArrowDown' || event.key === 'ArrowUp') && (focused === query || inList)) {
        event.preventDefault();
        const all = links();
        const next = all.indexOf(focused) + (event.key === 'ArrowDown' ? 1 : -1);
        (all[next] || query).focus();
      } else if (event.key === 'Enter' && focused === query && query.value) {
        const [first] = links();
        if (first) location.href = first.href;
      }
    });
  };

  const colours = { fresh: 'good', incomplete: 'doubt', unknown: 'doubt', stale: 'bad', empty: 'bad' };
  const showState = async () => {
    try {
      const answer = await fetch(`${root}mirror.json`);
      if (!answer.ok) return;
      const { repository } = await answer.json();
      const checked = repository.checked ? `, checked ${since(repository.checked)}` : '';
      const state = find('state');
      state.textContent = `${repository.state}${checked}`;
      state.className = colours[repository.state] || '';
      state.hidden = false;
    } catch { /* the page is complete without the status */ }
  };

  // The progress of the running cycle, or of the upload after it. The page itself shows the state when the last one began or ended.
  const showProgress = async () => {
    const place = find('progress');
    if (!place) return;
    let wait = 30000;
    try {
      const answer = await fetch(`${root}progress.json`, { cache: 'no-store' });
      if (!answer.ok) return;
      const { running, upload } = await answer.json();
      const show = (text) => {
        place.textContent = text;
        place.hidden = find('progress-name').hidden = false;
      };
      if (running) {
        const { stage, sources, packages, bytes } = running;
        show({
          fetch: `Fetching: ${sources.done} of ${sources.all} sources, ${(bytes / 1e6).toFixed(1)} MB`,
          build: `Building: ${packages.done} of ${packages.all} package versions so far`,
          publish: 'Publishing',
        }[stage] || stage);
        wait = 2000;
      } else if (upload) {
        show(`Uploading to the bucket: ${upload.objects.done} of ${upload.objects.all} objects`);
        wait = 2000;
      } else if (!place.hidden) {
        show('The cycle has finished. Reload this page for its result.');
      }
    } catch { /* try again later */ }
    setTimeout(showProgress, wait);
  };

  const openVersion = () => {
    const version = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const target = version || document.querySelector('section[aria-labelledby="details"] details');
    if (target && target.tagName === 'DETAILS') target.open = true;
  };

  document.addEventListener('DOMContentLoaded', () => {
    offerCopies();
    offerSearch();
    openVersion();
    addEventListener('hashchange', openVersion);
    ages();
    setInterval(ages, 30000);
    showState();
    showProgress();
  });
})();
