// The stream of a page's events, open only while the page is in sight. A browser opens no more than
// six connections to a server over HTTP/1.1, for all its tabs together: streams of hidden tabs
// would take them all, and the next tab would wait for ever. Nothing is lost: the first event of a
// stream is `refresh`, so a tab that is shown again fetches what it missed.

const ASK = 10_000; // milliseconds between two looks of a hidden tab

class Stream extends EventTarget {
  constructor(url) {
    super();
    this.url = url;
    this.names = new Set();
    this.readyState = EventSource.CONNECTING;
    document.addEventListener("visibilitychange", this.follow);
    this.follow();
  }

  follow = () => {
    clearInterval(this.asking);
    if (!document.hidden) return this.open();
    this.pause();
    // The title says how far the work is, and is read while the tab is hidden.
    this.asking = setInterval(() => {
      if (document.querySelector("#jobs-now:not([hidden])")) this.pass({ type: "job" });
    }, ASK);
  };

  open() {
    if (this.source) return;
    this.source = new EventSource(this.url, { withCredentials: true });
    this.source.onopen = (event) => {
      this.readyState = EventSource.OPEN;
      this.onopen?.(event);
    };
    this.source.onerror = (event) => {
      this.readyState = this.source.readyState;
      // Refused: htmx makes a new stream after a while.
      if (this.readyState === EventSource.CLOSED) this.close();
      this.onerror?.(event);
    };
    for (const name of this.names) this.source.addEventListener(name, this.pass);
  }

  pause() {
    this.source?.close();
    this.source = null;
    this.readyState = EventSource.CONNECTING;
  }

  close() {
    document.removeEventListener("visibilitychange", this.follow);
    clearInterval(this.asking);
    this.pause();
    this.readyState = EventSource.CLOSED;
  }

  pass = ({ type, data }) => this.dispatchEvent(new MessageEvent(type, { data }));

  addEventListener(name, listener) {
    super.addEventListener(name, listener);
    if (this.names.has(name)) return;
    this.names.add(name);
    this.source?.addEventListener(name, this.pass);
  }
}

htmx.createEventSource = (url) => new Stream(url);
