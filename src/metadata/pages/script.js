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

  const offerSearch = () => {
    const query = find('query');
    if (!query) return;
    const rows = [...find('list').children].map((row) => [row, row.textContent.toLowerCase()]);
    const visible = () => rows.filter(([row]) => !row.hidden).map(([row]) => row.querySelector('a'));
    const search = () => {
      const words = query.value.toLowerCase().split(/\s+/).filter(Boolean);
      let count = 0;
      for (const [row, text] of rows) {
        row.hidden = !words.every((word) => text.includes(word));
        if (!row.hidden) count += 1;
      }
      find('else').hidden = words.length > 0;
      find('found').textContent = words.length ? `${count} of ${rows.length} packages` : '';
      const address = new URL(location.href);
      if (query.value) address.searchParams.set('q', query.value); else address.searchParams.delete('q');
      history.replaceState(null, '', address);
    };
    find('search').hidden = false;
    query.addEventListener('input', search);
    query.value = new URLSearchParams(location.search).get('q') || '';
    if (query.value) search();
    document.addEventListener('keydown', (event) => {
      const inList = find('list').contains(document.activeElement);
      const links = () => visible();
      if (event.key === '/' && document.activeElement !== query && !event.ctrlKey && !event.metaKey) {
        event.preventDefault();
        query.focus();
      } else if (event.key === 'Escape' && (document.activeElement === query || inList)) {
        query.value = '';
        search();
        query.focus();
      } else if ((event.key === 'ArrowDown' || event.key === 'ArrowUp') && (document.activeElement === query || inList)) {
        event.preventDefault();
        const all = links();
        const next = all.indexOf(document.activeElement) + (event.key === 'ArrowDown' ? 1 : -1);
        (all[next] || query).focus();
      } else if (event.key === 'Enter' && document.activeElement === query && query.value) {
        const [first] = links();
        if (first) location.href = first.href;
      }
    });
  };

  const showState = async () => {
    try {
      const answer = await fetch(`${root}mirror.json`);
      if (!answer.ok) return;
      const { site, repository } = await answer.json();
      const checked = repository.checked ? `, checked ${since(repository.checked)}` : '';
      find('state').textContent = `${repository.state}${checked}`;
      const by = [site.name, site.contact].filter(Boolean).join(', ');
      if (by) find('operator').textContent = ` · Run by ${by}`;
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
    const target = version || document.querySelector('details');
    if (target && target.tagName === 'DETAILS') target.open = true;
  };

  document.addEventListener('DOMContentLoaded', () => {
    offerCopies();
    offerSearch();
    openVersion();
    ages();
    setInterval(ages, 30000);
    showState();
    showProgress();
  });
})();
