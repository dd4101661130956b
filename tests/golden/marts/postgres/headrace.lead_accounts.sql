WITH leads AS (
  SELECT
    l.id,
    CASE
      WHEN NOT LOWER(SPLIT_PART(TRIM(l.email), '@', 2)) IN (
        '',
        '126.com',
        '163.com',
        'aol.com',
        'fastmail.com',
        'free.fr',
        'gmail.com',
        'gmx.at',
        'gmx.ch',
        'gmx.com',
        'gmx.de',
        'gmx.net',
        'googlemail.com',
        'hey.com',
        'hotmail.co.uk',
        'hotmail.com',
        'hotmail.de',
        'hotmail.fr',
        'icloud.com',
        'laposte.net',
        'libero.it',
        'live.com',
        'mac.com',
        'mail.com',
        'mail.ru',
        'me.com',
        'msn.com',
        'naver.com',
        'orange.fr',
        'outlook.com',
        'outlook.de',
        'outlook.fr',
        'pm.me',
        'proton.me',
        'protonmail.com',
        'qq.com',
        'rediffmail.com',
        'rocketmail.com',
        'seznam.cz',
        't-online.de',
        'tutanota.com',
        'wanadoo.fr',
        'web.de',
        'wp.pl',
        'yahoo.co.in',
        'yahoo.co.jp',
        'yahoo.co.uk',
        'yahoo.com',
        'yahoo.de',
        'yahoo.fr',
        'yandex.com',
        'yandex.ru',
        'ymail.com',
        'zoho.com'
      )
      THEN LOWER(SPLIT_PART(TRIM(l.email), '@', 2))
    END AS domain,
    CASE
      WHEN NOT REPLACE(
        REPLACE(
          REPLACE(
            REPLACE(
              REPLACE(
                REPLACE(
                  REPLACE(
                    REPLACE(
                      REPLACE(
                        REPLACE(
                          REPLACE(
                            REPLACE(
                              REPLACE(
                                REPLACE(
                                  REGEXP_REPLACE(
                                    LOWER(TRIM(l.company)),
                                    '([ ,.&]+(ab|ag|as|bv|co|company|corp|corporation|gmbh|inc|incorporated|kg|limited|llc|llp|ltd|nv|oy|plc|pty|sa|sarl|sas|se|spa|srl)[.]?)+$',
                                    ''
                                  ),
                                  ' ',
                                  ''
                                ),
                                '.',
                                ''
                              ),
                              ',',
                              ''
                            ),
                            '-',
                            ''
                          ),
                          '_',
                          ''
                        ),
                        '''',
                        ''
                      ),
                      '"',
                      ''
                    ),
                    '&',
                    ''
                  ),
                  '+',
                  ''
                ),
                '/',
                ''
              ),
              '(',
              ''
            ),
            ')',
            ''
          ),
          '[',
          ''
        ),
        ']',
        ''
      ) IN (
        '',
        'individual',
        'na',
        'none',
        'notprovided',
        'personal',
        'private',
        'self',
        'selfemployed',
        'student',
        'test',
        'unknown'
      )
      THEN REPLACE(
        REPLACE(
          REPLACE(
            REPLACE(
              REPLACE(
                REPLACE(
                  REPLACE(
                    REPLACE(
                      REPLACE(
                        REPLACE(
                          REPLACE(
                            REPLACE(
                              REPLACE(
                                REPLACE(
                                  REGEXP_REPLACE(
                                    LOWER(TRIM(l.company)),
                                    '([ ,.&]+(ab|ag|as|bv|co|company|corp|corporation|gmbh|inc|incorporated|kg|limited|llc|llp|ltd|nv|oy|plc|pty|sa|sarl|sas|se|spa|srl)[.]?)+$',
                                    ''
                                  ),
                                  ' ',
                                  ''
                                ),
                                '.',
                                ''
                              ),
                              ',',
                              ''
                            ),
                            '-',
                            ''
                          ),
                          '_',
                          ''
                        ),
                        '''',
                        ''
                      ),
                      '"',
                      ''
                    ),
                    '&',
                    ''
                  ),
                  '+',
                  ''
                ),
                '/',
                ''
              ),
              '(',
              ''
            ),
            ')',
            ''
          ),
          '[',
          ''
        ),
        ']',
        ''
      )
    END AS company
  FROM (
    SELECT
      "id",
      CAST(NULL AS TEXT) AS "email",
      CAST(NULL AS TEXT) AS "company",
      "isconverted",
      "is_deleted"
    FROM salesforce.lead
  ) AS l
  WHERE
    NOT l.id IS NULL
    AND NOT l.is_deleted
    AND NOT COALESCE(l.isconverted, FALSE)
    AND TRUE
), accounts_there AS (
  SELECT
    a.id,
    NULLIF(
      REGEXP_REPLACE(
        REGEXP_REPLACE(LOWER(TRIM(a.website)), '^(https?://)?(www[.])?', ''),
        '[/:?#].*$',
        ''
      ),
      ''
    ) AS domain,
    CASE
      WHEN NOT REPLACE(
        REPLACE(
          REPLACE(
            REPLACE(
              REPLACE(
                REPLACE(
                  REPLACE(
                    REPLACE(
                      REPLACE(
                        REPLACE(
                          REPLACE(
                            REPLACE(
                              REPLACE(
                                REPLACE(
                                  REGEXP_REPLACE(
                                    LOWER(TRIM(a.name)),
                                    '([ ,.&]+(ab|ag|as|bv|co|company|corp|corporation|gmbh|inc|incorporated|kg|limited|llc|llp|ltd|nv|oy|plc|pty|sa|sarl|sas|se|spa|srl)[.]?)+$',
                                    ''
                                  ),
                                  ' ',
                                  ''
                                ),
                                '.',
                                ''
                              ),
                              ',',
                              ''
                            ),
                            '-',
                            ''
                          ),
                          '_',
                          ''
                        ),
                        '''',
                        ''
                      ),
                      '"',
                      ''
                    ),
                    '&',
                    ''
                  ),
                  '+',
                  ''
                ),
                '/',
                ''
              ),
              '(',
              ''
            ),
            ')',
            ''
          ),
          '[',
          ''
        ),
        ']',
        ''
      ) IN (
        '',
        'individual',
        'na',
        'none',
        'notprovided',
        'personal',
        'private',
        'self',
        'selfemployed',
        'student',
        'test',
        'unknown'
      )
      THEN REPLACE(
        REPLACE(
          REPLACE(
            REPLACE(
              REPLACE(
                REPLACE(
                  REPLACE(
                    REPLACE(
                      REPLACE(
                        REPLACE(
                          REPLACE(
                            REPLACE(
                              REPLACE(
                                REPLACE(
                                  REGEXP_REPLACE(
                                    LOWER(TRIM(a.name)),
                                    '([ ,.&]+(ab|ag|as|bv|co|company|corp|corporation|gmbh|inc|incorporated|kg|limited|llc|llp|ltd|nv|oy|plc|pty|sa|sarl|sas|se|spa|srl)[.]?)+$',
                                    ''
                                  ),
                                  ' ',
                                  ''
                                ),
                                '.',
                                ''
                              ),
                              ',',
                              ''
                            ),
                            '-',
                            ''
                          ),
                          '_',
                          ''
                        ),
                        '''',
                        ''
                      ),
                      '"',
                      ''
                    ),
                    '&',
                    ''
                  ),
                  '+',
                  ''
                ),
                '/',
                ''
              ),
              '(',
              ''
            ),
            ')',
            ''
          ),
          '[',
          ''
        ),
        ']',
        ''
      )
    END AS company
  FROM (
    SELECT
      "id",
      CAST(NULL AS TEXT) AS "name",
      CAST(NULL AS TEXT) AS "website",
      "is_deleted"
    FROM salesforce.account
  ) AS a
  WHERE
    NOT a.is_deleted
), signs AS (
  SELECT
    id,
    90 AS percent,
    domain AS sign
  FROM accounts_there
  WHERE
    NOT domain IS NULL
  UNION
  SELECT
    a.id,
    80 AS percent,
    CASE
      WHEN NOT LOWER(SPLIT_PART(TRIM(c.email), '@', 2)) IN (
        '',
        '126.com',
        '163.com',
        'aol.com',
        'fastmail.com',
        'free.fr',
        'gmail.com',
        'gmx.at',
        'gmx.ch',
        'gmx.com',
        'gmx.de',
        'gmx.net',
        'googlemail.com',
        'hey.com',
        'hotmail.co.uk',
        'hotmail.com',
        'hotmail.de',
        'hotmail.fr',
        'icloud.com',
        'laposte.net',
        'libero.it',
        'live.com',
        'mac.com',
        'mail.com',
        'mail.ru',
        'me.com',
        'msn.com',
        'naver.com',
        'orange.fr',
        'outlook.com',
        'outlook.de',
        'outlook.fr',
        'pm.me',
        'proton.me',
        'protonmail.com',
        'qq.com',
        'rediffmail.com',
        'rocketmail.com',
        'seznam.cz',
        't-online.de',
        'tutanota.com',
        'wanadoo.fr',
        'web.de',
        'wp.pl',
        'yahoo.co.in',
        'yahoo.co.jp',
        'yahoo.co.uk',
        'yahoo.com',
        'yahoo.de',
        'yahoo.fr',
        'yandex.com',
        'yandex.ru',
        'ymail.com',
        'zoho.com'
      )
      THEN LOWER(SPLIT_PART(TRIM(c.email), '@', 2))
    END AS sign
  FROM (
    SELECT
      "id",
      "accountid",
      CAST(NULL AS TEXT) AS "email",
      "is_deleted"
    FROM salesforce.contact
  ) AS c
  JOIN accounts_there AS a
    ON a.id = c.accountid
  WHERE
    NOT c.is_deleted
  UNION
  SELECT
    id,
    60 AS percent,
    company AS sign
  FROM accounts_there
  WHERE
    NOT company IS NULL
), shared AS (
  SELECT
    id,
    percent,
    sign,
    COUNT(*) OVER (PARTITION BY percent, sign) AS accounts
  FROM signs
), found AS (
  SELECT
    l.id AS lead_id,
    s.id AS account_id,
    s.percent
  FROM leads AS l
  JOIN shared AS s
    ON s.sign = l.domain
  WHERE
    s.percent > 60 AND s.accounts <= 20
  UNION ALL
  SELECT
    l.id AS lead_id,
    s.id AS account_id,
    s.percent
  FROM leads AS l
  JOIN shared AS s
    ON s.sign = l.company
  WHERE
    s.percent = 60 AND s.accounts <= 20
), counted AS (
  SELECT
    lead_id,
    account_id,
    MAX(percent) AS percent,
    MIN(percent) AS least,
    COUNT(*) OVER (PARTITION BY lead_id) AS candidates
  FROM found
  GROUP BY
    lead_id,
    account_id
), weighed AS (
  SELECT
    *,
    CASE percent WHEN 90 THEN 'website' WHEN 80 THEN 'contacts' ELSE 'company' END AS how,
    CAST(FLOOR(
      CAST((
        CASE WHEN least = 60 AND percent > 60 THEN percent + 5 ELSE percent END
      ) AS DOUBLE PRECISION) / candidates
    ) AS BIGINT) AS hundredths
  FROM counted
)
SELECT
  lead_id,
  ROW_NUMBER() OVER (PARTITION BY lead_id ORDER BY hundredths DESC NULLS LAST, account_id) AS place,
  account_id,
  how,
  hundredths * CAST('0.01' AS DECIMAL) AS confidence,
  candidates
FROM weighed
